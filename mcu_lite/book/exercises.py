"""What an exercise's notebook says about an answer."""

from __future__ import annotations

from collections.abc import Callable


class NotYet(AssertionError):
    """What is missing or wrong, in a sentence; a notebook shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


def check(*answers: str) -> Callable[[Callable[[], None]], None]:
    """Run a function of assertions at once and say in a sentence what came out.

    Parameters
    ----------
    *answers : str
        Names in which the exercise asks for the answer.

    Raises
    ------
    NotYet
        If an answer or another name does not exist, an assertion fails, or an answer is of
        another kind than the assertions can read.

    Examples
    --------
    >>> half = 0.5
    >>> @check("half")
    ... def right():
    ...     assert 2 * half == 1, "twice a half should be one"
    Right.
    >>> half = 0.4
    >>> @check("half")
    ... def right():
    ...     assert 2 * half == 1, "twice a half should be one"
    Traceback (most recent call last):
    mcu_lite.book.exercises.NotYet: twice a half should be one
    """

    def run(assertions: Callable[[], None]) -> None:
        try:
            assertions()
        except NameError as error:
            raise NotYet(_missing(error.name, answers)) from None
        except AssertionError as error:
            raise NotYet(str(error) or "the answer is not right") from None
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise NotYet(
                f"the answer cannot be read ({reason}). Is it what the exercise asks for?"
            ) from None
        print("Right.")

    return run


def _missing(name: str, answers: tuple[str, ...]) -> str:
    if name in answers:
        return (
            f"`{name}` does not exist. Write your code into the cell above, leave the answer in "
            f"`{name}`, and run it"
        )
    return f"`{name}` does not exist. Run the cells at the top first"
