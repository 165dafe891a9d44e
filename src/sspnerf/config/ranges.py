"""Refusing settings outside their range."""


def check_range(name: str, value: int | float | None, low: int | float, high: int | float) -> None:
    """Refuse a setting outside its range; None means 'not set' and passes.

    Raises:
        ValueError: With the setting's name, its value and its range.
    """
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} is {value:g}; expected {low:g} to {high:g}")
