"Tasks without color: what needs several processes, no network, or a study's files around it."
import json, os, socket, subprocess, sys
import pytest, torch
from fastai.vision.all import resnet18
from colorfast.files import UserError

ENV = dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', ACCELERATE_USE_CPU='true')

def launch(code, tmp_path, n):
    "Run `code` in `n` processes"
    f = tmp_path/'shared.py'; f.write_text(code)
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    cmd = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', str(n), '--master-port', str(port), str(f), str(tmp_path)]
    r = subprocess.run(cmd, capture_output=True, text=True, env=ENV, timeout=600)
    assert r.returncode==0, r.stdout[-3000:]+r.stderr[-3000:]

def test_views_of_all_processes_are_compared(tmp_path):
    "Two processes with half of the pictures have together the loss and the gradient of one with all"
    pytest.importorskip('lightly', reason='needs lightly: pip install lightly')
    from colorfast.zoo import SimCLR
    launch('''
import sys, torch, torch.distributed as dist
from colorfast.zoo import SimCLR
dist.init_process_group('gloo')
r = dist.get_rank()
torch.manual_seed(0)
z = torch.randn(2,8,16)[:,r*4:r*4+4].clone().requires_grad_()
loss = SimCLR().terms(z.flatten(0,1), None, None)['ntxent']
loss.backward()
with torch.no_grad(): alone = SimCLR().terms(z.flatten(0,1), None, None)['ntxent'] # as in validation
torch.save((loss.detach(), z.grad, alone), f'{sys.argv[1]}/{r}.pth')
''', tmp_path, 2)
    torch.manual_seed(0)
    z = torch.randn(2,8,16).requires_grad_()
    loss = SimCLR().terms(z.flatten(0,1), None, None)['ntxent']
    loss.backward()
    parts = [torch.load(tmp_path/f'{r}.pth') for r in range(2)]
    assert torch.allclose(sum(o[0] for o in parts)/2, loss.detach(), atol=1e-6)
    assert torch.allclose(torch.cat([o[1] for o in parts], 1)/2, z.grad, atol=1e-6) # DDP takes the mean of the gradients
    half = z.detach()[:,:4].flatten(0,1)
    assert torch.allclose(parts[0][2], SimCLR().terms(half, None, None)['ntxent'], atol=1e-6)

def test_imagenet_weights_where_there_is_no_network(monkeypatch, tmp_path):
    "A row that cannot be had says so in one line"
    from urllib.error import URLError
    from colorfast.transfer import rgb_body
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    def offline(*args, **kw): raise URLError('no network')
    monkeypatch.setattr('torch.hub.urlopen', offline)
    with pytest.raises(UserError, match=r'^no pretrained weights of resnet18 \(.*no network.*\): pass pretrained=False for random ones$'): rgb_body(resnet18)
    assert rgb_body(resnet18, pretrained=False)[1][0].in_channels==3

def test_the_command_knows_tasks_without_color(tmp_path):
    "Settings reach the class, and the run's folder has a body that loads"
    import colorfast.zoo
    from colorfast.cli import main
    from colorfast.scenes import make_scenes
    from colorfast.transfer import load_body
    path = make_scenes(tmp_path/'scenes', n_unlabeled=32, n_train=4, n_val=16, n_test=16, size=32, progress=False)
    main(['pretrain', str(path), '--out', str(tmp_path/'run'), '--size', '32', '--bs', '8', '--epochs', '1', '--pretext', 'autoencoder',
          '--set', 'pretext_kw.hide=0.25'])
    card = json.loads((tmp_path/'run'/'colorizer.json').read_text())
    assert card['pretext']['name']=='autoencoder' and card['pretext']['settings']['hide']==.25
    assert load_body(tmp_path/'run')()(torch.zeros(1,3,32,32)).ndim==4
