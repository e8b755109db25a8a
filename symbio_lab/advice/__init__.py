"""What to do about a failing model: adopt, operate, collect or wait, with reasons and figures; and when to start it."""
