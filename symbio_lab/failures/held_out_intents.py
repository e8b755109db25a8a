"""The 27 BANKING77 intents that are customarily held out as new: the Hub copy of the data lacks the list.

References:
    Zhang et al. (2022), "Are Pretrained Transformers Robust in Intent Classification? A Missing Ingredient in
    Evaluation of Out-of-Scope Intent Detection", NLP4ConvAI (BANKING77-OOS).

Example:
    >>> len(BANKING77_HELD_OUT)
    27
"""

from __future__ import annotations

BANKING77_HELD_OUT: frozenset[str] = frozenset(
    {
        "age_limit",
        "atm_support",
        "card_acceptance",
        "card_delivery_estimate",
        "card_not_working",
        "card_swallowed",
        "compromised_card",
        "contactless_not_working",
        "exchange_rate",
        "get_disposable_virtual_card",
        "get_physical_card",
        "getting_virtual_card",
        "lost_or_stolen_card",
        "passcode_forgotten",
        "pin_blocked",
        "receiving_money",
        "terminate_account",
        "top_up_by_bank_transfer_charge",
        "top_up_by_card_charge",
        "top_up_by_cash_or_cheque",
        "top_up_limits",
        "topping_up_by_card",
        "transfer_into_account",
        "unable_to_verify_identity",
        "verify_my_identity",
        "verify_source_of_funds",
        "virtual_card_not_working",
    }
)
