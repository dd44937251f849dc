"What fastai's own verbs do to a colorizer: half precision, export, and its safe twin, also for a pretext of somebody else."
import importlib, pytest, sys, torch, warnings
from fastai.vision.all import Learner, load_learner, nn, resnet18
from colorfast.data import ColorizeDataLoaders
from colorfast.inference import Colorizer
from colorfast.files import UserError
from colorfast.learner import colorize_learner, load_colorizer, save_colorizer
from colorfast.pretext import CGAN, ColorLoss
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

MINE = '''
import torch
from colorfast.pretext import *
class Mine(Regression):
    "Difference to a mean that the training pictures have, at a quarter of the resolution"
    stride = 4
    def __init__(self, scale=1.): super().__init__(stride=4); self.scale = scale
    def prepare(self, dls): self.mean = sum(ab.mean((0,2,3)) for _,ab in dls.train.new(shuffle=False)).as_subclass(torch.Tensor).cpu()
    def state(self): return {'mean':self.mean}
    def load_state(self, state): self.mean = state['mean']
    def terms(self, pred, ab, l, reduction='mean'): return super().terms(self.decodes(pred), ab, l, reduction)
    def decodes(self, pred): return pred*self.scale+self.mean.view(2,1,1)
'''

def test_pretext_of_somebody_else(dls, tmp_path, monkeypatch):
    (tmp_path/'mypretext.py').write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, 'mypretext', raising=False)
    learn = colorize_learner(dls, resnet18, 'mypretext:Mine', metrics=[], fast=False); fit(learn)
    l = dls.valid.one_batch()[0].as_subclass(torch.Tensor).cpu()
    want = learn.predict_ab(l)
    assert want.shape==(len(l),2,32,32)
    save_colorizer(learn, tmp_path/'mine')
    sys.modules.pop('mypretext')
    with pytest.raises(UserError, match='mine.safetensors.*import mypretext first'): load_colorizer(tmp_path/'mine', 'cpu') # a card runs nothing
    importlib.import_module('mypretext')
    net,card,p = load_colorizer(tmp_path/'mine', 'cpu')
    assert card['pretext']=={'name':'mypretext:Mine', 'settings':{'scale':1.}}
    with torch.no_grad(): assert torch.allclose(ColorLoss(p).decodes(net(l)), want, atol=1e-5)
    assert torch.allclose(Colorizer.load(tmp_path/'mine', 'cpu').predict(l), want, atol=1e-5)

def test_what_is_drawn_in_prepare_changes_nothing(dls, tmp_path):
    "The same initial weights, whatever a pretext takes from the data first"
    class Draws(CGAN):
        def prepare(self, dls): torch.rand(100); next(iter(dls.train.new()))
    weights = []
    for cls in (CGAN, Draws):
        torch.manual_seed(3)
        weights.append(colorize_learner(dls, resnet18, cls(nf=8), metrics=[]).model.state_dict())
    assert all(torch.equal(a, b) for a,b in zip(*[o.values() for o in weights]))

@pytest.mark.parametrize('size', [16,20])
def test_too_small_for_the_critic(tmp_path, size):
    path = make_scenes(tmp_path/'scenes', n_unlabeled=8, n_train=4, n_val=4, n_test=4, size=32, progress=False)
    small = ColorizeDataLoaders.from_coco(path, size=size, bs=4, device='cpu')
    with pytest.raises(UserError, match=f'{size}x{size} px .* too small for the critic'): colorize_learner(small, resnet18, CGAN(nf=8))
    colorize_learner(small, resnet18, 'regression')
