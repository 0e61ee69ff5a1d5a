"""Exercise of lesson 00: count the heads of a group."""

from course_utils.attention import group_size
from course_utils.checks.draws import drawing, given, resized
from course_utils.checks.engine import Exercise, Mistake

EXERCISES = {
    "00.group_size": Exercise(
        reference=group_size,
        more="refuses heads that cannot be shared evenly",
        **drawing(
            given(8, 2),
            given(12, 4),
            given(32, 8),
            given(6, 6),
            given(5, 1),
            given(1, 1),
            given(71, 1),
            other=resized(most=48, kept=lambda n, g: n % g),
        ),
        returns=("the group size",),
        mistakes={
            "a float": Mistake(
                lambda n, g: n / g,
                "Heads are whole things: / gives 4.0, // gives 4.",
            ),
            "the fraction upside down": Mistake(
                lambda n, g: g // n,
                "Read it aloud: query heads per key/value head.",
            ),
            "the remainder": Mistake(
                lambda n, g: n % g,
                "% gives what is left over, 0 when all is dealt out evenly. // gives how often.",
            ),
            "the fraction upside down, as a float": Mistake(
                lambda n, g: g / n,
                "Read it aloud: query heads per key/value head. And / gives a float, // a whole "
                "number.",
            ),
            "half of them": Mistake(
                lambda n, g: n // 2,
                "With g = 2 that is right. How many K/V heads there are is n_kv_heads.",
            ),
            "the answer of the example": Mistake(
                lambda n, g: 4,
                "For 8 and 2 it is 4. Let it follow from the arguments: other models have others.",
            ),
            "a difference": Mistake(
                lambda n, g: n - g,
                "With 8 and 2 that is 6; move the slider to 2 and count the lines at one box.",
            ),
            "a product": Mistake(
                lambda n, g: n * g,
                "With 8 and 2 that is 16, more than there are query heads.",
            ),
            "the number of groups": Mistake(
                lambda n, g: g,
                "That is how many groups there are; the question is how large one is.",
            ),
        },
        hints=(
            "Set the slider to 2 and count the lines that end at one box.",
            "Eight query heads, dealt out evenly to two boxes.",
        ),
    )
}
