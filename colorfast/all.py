"""What `from colorfast.all import *` gives: fastai's vision, and every public name of colorfast."""
import warnings as _warnings
with _warnings.catch_warnings(): # of torch, for fastai's developers
    _warnings.simplefilter('ignore', FutureWarning)
    from fastai.vision.all import *
from .files import *
from .color import *
from .images import *
from .scenes import *
from .sources import *
from .data import *
from .metrics import *
from .perceptual import *
from .models import *
from .pretext import *
from .bins import *
from .hypercolumn import *
from .splitbrain import *
from .zoo import *
from .looks import *
from .learner import *
from .transfer import *
from .detect import *
from .protocols import *
from .inference import *
from .units import *
from .interpret import *
from .study import *
from .figures import *
from .report import *
