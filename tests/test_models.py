"Which networks can be a body: those that run one after another do as they always did, the others are refused in one line."
import pytest, torch, torchvision
from torch import nn
from fastai.vision.learner import create_body, model_meta
from fastai.vision.models import xresnet
from fastai.vision.models.unet import DynamicUnet
from colorfast.files import UserError
from colorfast.models import *

tv = torchvision.models
WORKS = '''resnet18 resnext50_32x4d densenet121 vgg16_bn convnext_tiny efficientnet_b0 mobilenet_v3_small squeezenet1_0 alexnet
    regnet_y_400mf shufflenet_v2_x1_0 mobilenet_v2 mnasnet0_5 googlenet inception_v3'''.split()
TIMM = '''resnet18 resnet10t.c3_in1k convnext_atto mobilenetv3_small_050 efficientnet_lite0 pvt_v2_b0 dla34
    regnetx_002 resnetv2_18 ghostnet_050'''.split()
REFUSED = '''vit_b_16 swin_t maxvit_t timm/vit_tiny_patch16_224 timm/swin_tiny_patch4_window7_224 timm/hrnet_w18_small
    timm/mixer_s32_224 timm/mambaout_femto timm/maxvit_nano_rw_256'''.split()
X = torch.randn(1, 1, 64, 64)

@pytest.mark.parametrize('name', WORKS)
def test_torchvision(name):
    made = []
    def arch(pretrained=False):
        made.append(getattr(tv, name)(weights=None))
        return made[0]
    body = gray_body(arch, n_in=3) # gives what the whole network has there, at its own size
    seen,x = [],torch.randn(1, 3, 128, 128)
    body[-1].register_forward_hook(lambda m,i,o: seen.append(o.clone()))
    with at_rest(made[0]) as net: net(x); body(x)
    assert torch.equal(*seen)
    assert len(body_stages(body, 128)) > 2

@pytest.mark.parametrize('name', WORKS+[f'timm/{o}' for o in TIMM])
def test_generators(name):
    whole = 16 if name == 'inception_v3' else None # its deepest stage needs 75 px
    for m,unet in ((8,DynamicUnet), (whole,SlimUnet)):
        net = color_generator(name, 2, 64, unet=unet, max_stride=m)
        with at_rest(net): y = net(X)
        assert y.shape == (1,2,64,64) and y.isfinite().all()
    net.train()(X.repeat(2,1,1,1)).sum().backward() # what the decoder needs is not overwritten on the way

def test_strides():
    for name in ('resnet18', 'densenet121', 'mobilenet_v2', 'squeezenet1_0', 'timm/convnext_atto'):
        for m in (8,16):
            assert check_arch(name, 64, m)[-1][2] == m
            with torch.inference_mode(): assert 64/gray_body(name, max_stride=m).eval()(X).shape[-1] < 1.5*m

@pytest.mark.parametrize('name', REFUSED)
def test_refused(name):
    for f in (gray_body, color_generator, check_arch):
        with pytest.raises(UserError) as e: f(name)
        assert str(e.value).startswith(f'{name} cannot be a body') and '\n' not in str(e.value)

@pytest.mark.parametrize('arch', [tv.resnet18, tv.resnet50, tv.resnext50_32x4d, xresnet.xresnet18, xresnet.xse_resnext18])
def test_resnets_stay(arch):
    "Layers, names and random numbers are those of fastai's own body"
    torch.manual_seed(0)
    meta = model_meta.get(arch, {})
    ref = create_body(arch(weights=None) if meta.get('weights') else arch(pretrained=False), n_in=1, pretrained=False, cut=meta.get('cut'))
    conv = next(o for o in ref.modules() if isinstance(o, nn.Conv2d))
    nn.init.kaiming_normal_(conv.weight, mode='fan_out', nonlinearity='relu')
    after = torch.get_rng_state()
    torch.manual_seed(0)
    body = gray_body(arch)
    assert torch.equal(torch.get_rng_state(), after)
    assert list(body.state_dict()) == list(ref.state_dict())
    assert all(torch.equal(a, b) for a,b in zip(body.state_dict().values(), ref.state_dict().values()))
    assert all(o.training for o in body.modules())

def test_timm_means_timm():
    net = gray_body('timm/resnet18')
    assert type(net[4][0]).__module__.startswith('timm.') and type(gray_body('resnet18')[4][0]).__module__.startswith('torchvision.')

@pytest.mark.parametrize('size', [16, 20, 33])
def test_odd_sizes(size):
    l,ab = torch.randn(2, 1, size, size),torch.randn(2, 2, size, size)
    for unet in DECODERS: assert color_generator('resnet18', 2, size, unet, max_stride=8)(l).shape == ab.shape
    for n in (3, 4):
        loss = PatchCritic(nf=8, n_layers=n)(l, ab.requires_grad_()).mean()
        loss.backward()
        assert loss.isfinite() and ab.grad.abs().sum() > 0
