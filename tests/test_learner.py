"What fastai's own verbs do to a colorizer: half precision, export, and the safe twin of an export."
import pytest, torch, warnings
from fastai.vision.all import Learner, load_learner, nn, resnet18
from colorfast.data import ColorizeDataLoaders
from colorfast.inference import Colorizer
from colorfast.learner import colorize_learner, save_colorizer
from colorfast.pretext import CGAN
from colorfast.scenes import make_scenes

@pytest.fixture(scope='module')
def dls(tmp_path_factory):
    "48 small scenes"
    path = make_scenes(tmp_path_factory.mktemp('learner')/'scenes', n_unlabeled=48, n_train=4, n_val=16, n_test=4, size=32, progress=False)
    return ColorizeDataLoaders.from_coco(path, size=32, bs=16, device='cpu')

def learner(dls, **kw): return colorize_learner(dls, resnet18, CGAN(nf=8), metrics=[], **kw)

def fit(learn):
    "One epoch without output; the recorded losses"
    with learn.no_bar(), learn.no_logging(), warnings.catch_warnings():
        warnings.simplefilter('ignore') # fastai asks for CUDA's autocast, which says that there is none
        learn.fit(1)
    return learn.recorder.values[-1]

@pytest.mark.parametrize('verb', ['to_fp16','to_bf16'])
def test_half_precision(dls, verb):
    learn = learner(dls)
    getattr(learn, verb)()
    before = learn.model.generator[0][0].weight.detach().clone()
    assert all(torch.isfinite(torch.tensor(float(o))) for o in fit(learn))
    assert not torch.equal(before, learn.model.generator[0][0].weight)
    assert learn.model.generator[0][0].weight.dtype is torch.float32 # master weights

def test_export_and_its_safe_twin(dls, tmp_path):
    learn = learner(dls, path=tmp_path); fit(learn)
    l = dls.valid.one_batch()[0].as_subclass(torch.Tensor).cpu()
    want = learn.predict_ab(l)
    save_colorizer(learn, tmp_path/'colorizer') # no pickle
    assert torch.allclose(Colorizer.load(tmp_path, 'cpu').predict(l), want, atol=1e-5) # channels-last adds in another order
    plain = Learner(dls, nn.Conv2d(1,2,1), loss_func=nn.L1Loss(), path=tmp_path)
    try: plain.export('plain.pkl')
    except Exception as e: pytest.skip(f'fastai here cannot export any Learner: {type(e).__name__}: {e}')
    learn.export('all.pkl')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore') # load_learner warns of pickle
        back = load_learner(tmp_path/'all.pkl')
    assert torch.allclose(back.predict_ab(l), want, atol=1e-5)
