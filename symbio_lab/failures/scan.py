"""The SCAN grammar: every command with its action sequence, generated, not stored.

Grammar (Lake and Baroni 2018, supplementary figure; U verb, D directed verb)::

    C -> S and S | S after S | S        V -> D opposite-or-around form | D | U
    S -> V twice | V thrice | V         D -> U left | U right | turn left | turn right
                                        U -> walk | look | run | jump

Interpretation: ``u left`` turns, then acts; ``u opposite left`` turns twice, then acts; ``u around left`` does
(turn, act) four times; for ``turn`` there is no act. ``x after y`` does y first.

References:
    Lake and Baroni (2018), "Generalization without Systematicity: On the Compositional Skills of
    Sequence-to-Sequence Recurrent Networks", ICML, section 2 and supplement.
    Differs from the paper: actions carry the names of the released files (I_TURN_LEFT for LTURN ...).

Example:
    >>> interpret("jump around left after walk twice").split()[:4]
    ['I_WALK', 'I_WALK', 'I_TURN_LEFT', 'I_JUMP']
    >>> len(scan_pairs())
    20910
"""

from __future__ import annotations

from collections.abc import Callable

from symbio_lab.errors import DataError

VERBS = ("walk", "look", "run", "jump")
DIRECTIONS = ("left", "right")
_ACTIONS = {
    "walk": "I_WALK",
    "look": "I_LOOK",
    "run": "I_RUN",
    "jump": "I_JUMP",
    "left": "I_TURN_LEFT",
    "right": "I_TURN_RIGHT",
}
MAX_TRAIN_ACTIONS = 22
"""Longest action sequence in the training part of the length split."""
_REPEATS = {"": 1, "twice": 2, "thrice": 3}


def scan_pairs() -> tuple[tuple[str, str], ...]:
    """Return all 20,910 (command, actions) pairs, in the order of the grammar.

    Commands and actions are words separated by one space.
    """
    simple = [_repeat(pair, word) for pair in _verb_phrases() for word in _REPEATS]
    joined = [
        (f"{first} {word} {second}", f"{done} {then}" if word == "and" else f"{then} {done}")
        for first, done in simple
        for word in ("and", "after")
        for second, then in simple
    ]
    return (*simple, *joined)


def interpret(command: str) -> str:
    """Return the action sequence of one command.

    Raises:
        DataError: the grammar does not produce this command.

    >>> interpret("turn opposite right")
    'I_TURN_RIGHT I_TURN_RIGHT'
    """
    simple = dict(_repeat(pair, word) for pair in _verb_phrases() for word in _REPEATS)
    for word in (" and ", " after "):
        first, found, second = command.partition(word)
        if found and first in simple and second in simple:
            order = (first, second) if word == " and " else (second, first)
            return " ".join(simple[part] for part in order)
    if command not in simple:
        raise DataError(f"{command!r:.80} is not a SCAN command", hint="see the grammar in symbio_lab.failures.scan")
    return simple[command]


def scan_splits() -> dict[str, tuple[tuple[str, str], ...]]:
    """Return train and test of the published splits, made from their definitions.

    Returns:
        ``<split>_train`` and ``<split>_test`` -> (command, actions) pairs for ``length`` (train: at most 22
        actions), ``addprim_jump`` and ``addprim_turn_left`` (train: no compound with the primitive) and
        ``template_around_right`` (test: ``<verb> around right``; commands with ``turn around right`` in neither).

    References:
        Lake and Baroni (2018), experiments 2 and 3; Loula, Baroni and Lake (2018), "Rearranging the Familiar",
        BlackboxNLP. Differs from the released files: each command once (they repeat the primitives), and no
        ``simple`` split, which was drawn at random.
    """
    splits: dict[str, tuple[tuple[str, str], ...]] = {}
    for name, place in _PLACES.items():
        parts: dict[str, list[tuple[str, str]]] = {"train": [], "test": [], "neither": []}
        for pair in scan_pairs():
            parts[place(*pair)].append(pair)
        splits |= {f"{name}_train": tuple(parts["train"]), f"{name}_test": tuple(parts["test"])}
    return splits


def _by_length(command: str, actions: str) -> str:
    return "train" if actions.count(" ") < MAX_TRAIN_ACTIONS else "test"


def _without(primitive: str) -> Callable[[str, str], str]:
    def place(command: str, actions: str) -> str:
        return "train" if command == primitive or primitive not in command else "test"

    return place


def _around_right(command: str, actions: str) -> str:
    if "turn around right" in command:
        # The bare template of the primitive 'turn' is where the model could learn the answer.
        return "neither"
    return "test" if "around right" in command else "train"


_PLACES: dict[str, Callable[[str, str], str]] = {
    "length": _by_length,
    "addprim_jump": _without("jump"),
    "addprim_turn_left": _without("turn left"),
    "template_around_right": _around_right,
}


def _verb_phrases() -> list[tuple[str, str]]:
    """Return the 34 phrases of V with their actions."""
    phrases = [(verb, _ACTIONS[verb]) for verb in VERBS]
    for verb in (*VERBS, "turn"):
        for direction in DIRECTIONS:
            turn = _ACTIONS[direction]
            act = [] if verb == "turn" else [_ACTIONS[verb]]
            phrases.append((f"{verb} {direction}", " ".join([turn, *act])))
            phrases.append((f"{verb} opposite {direction}", " ".join([turn, turn, *act])))
            phrases.append((f"{verb} around {direction}", " ".join([turn, *act] * 4)))
    return phrases


def _repeat(pair: tuple[str, str], word: str) -> tuple[str, str]:
    command, actions = pair
    return f"{command} {word}".strip(), " ".join([actions] * _REPEATS[word])
