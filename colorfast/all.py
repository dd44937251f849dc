"""What `from colorfast.all import *` gives: fastai's vision, and every public name of colorfast."""
from fastai.vision.all import *
from .files import *
from .color import *
from .images import *
from .scenes import *
from .sources import *
from .data import *
from .metrics import *
from .models import *
from .pretext import *
from .learner import *
from .transfer import *
from .protocols import *
from .inference import *
from .study import *
from .figures import *
from .report import *
