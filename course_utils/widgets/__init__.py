"""What moves: every control is that of `control.js` in the browser, or one of Jupyter's own.

A flipbook turns pictures that were drawn before; the roof, the step and the calculator are worked
out in the browser; the explorer asks Python; a guess tells it.
"""

from course_utils.widgets.calculator import Calculator
from course_utils.widgets.explorer import Explorer
from course_utils.widgets.flipbook import Flipbook
from course_utils.widgets.guess import Guess, guess, truth
from course_utils.widgets.roof import Roof
from course_utils.widgets.slider import Slider
from course_utils.widgets.step import Step
