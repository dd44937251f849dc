"Several processes: two that share each batch make the steps of one with the doubled batch, and leave one set of files."
import csv, json, os, socket, subprocess, sys
import pytest, torch
from colorfast.scenes import make_scenes

pytest.importorskip('accelerate')
ENV = dict(os.environ, OMP_NUM_THREADS='1', PYTHONUNBUFFERED='1', CUDA_VISIBLE_DEVICES='', ACCELERATE_USE_CPU='true')

TRAIN = '''
import contextlib, sys, torch
from colorfast.all import *
from fastai.vision.all import *
path,out,bs = sys.argv[1],sys.argv[2],int(sys.argv[3])
class Still(Callback): # batch norm by its stored statistics: those of a batch would depend on who sees what
    def before_train(self):
        for m in self.model.modules():
            if isinstance(m, nn.BatchNorm2d): m.eval()
set_seed(0)
dls = ColorizeDataLoaders.from_coco(path, size=32, bs=bs, batch_tfms=[])
learn = colorize_learner(dls, resnet18, CGAN(nf=8), cbs=Still(), opt_func=SGD) # Adam would turn rounding into steps
before = {k:v.clone() for k,v in learn.model.state_dict().items()}
with (learn.distrib_ctx() if num_distrib()>1 else contextlib.nullcontext()), learn.no_bar(): learn.fit(2, 1e-3, cbs=[Checkpoint(f'{out}.cp'), LineLog(f'{out}.csv')])
if not rank_distrib(): torch.save(dict(before=before, after=learn.model.state_dict()), out)
'''

def launch(*argv, n=2):
    "Run `argv` in `n` processes, as a user would"
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]
    cmd = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', str(n), '--master-port', str(port)]
    r = subprocess.run([*cmd, *map(str,argv)], capture_output=True, text=True, env=ENV, timeout=600)
    assert r.returncode==0, r.stdout[-3000:]+r.stderr[-3000:]
    return r.stdout

@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    "64 small scenes"
    return make_scenes(tmp_path_factory.mktemp('two')/'scenes', n_unlabeled=64, n_train=4, n_val=16, n_test=16, size=32, progress=False)

def test_two_processes_train_as_one(scenes, tmp_path):
    f = tmp_path/'train.py'; f.write_text(TRAIN)
    subprocess.run([sys.executable, f, scenes, tmp_path/'one', '16'], check=True, env=ENV, timeout=600)
    launch(f, scenes, tmp_path/'two', 8)
    one,two = [torch.load(tmp_path/o, weights_only=True) for o in ('one','two')]
    for k,v in one['before'].items(): assert torch.equal(v, two['before'][k]), k
    moved = far = 0.
    for k,v in one['after'].items():
        if not v.is_floating_point(): continue
        moved = max(moved, (v-one['before'][k]).abs().max().item()); far = max(far, (v-two['after'][k]).abs().max().item())
    assert moved>1e-3 and far<1e-3*moved, (moved, far) # sums in another order: float32 carries about 7 digits
    rows = [list(csv.DictReader(open(tmp_path/f'{o}.csv'))) for o in ('one','two')]
    assert [len(o) for o in rows]==[2,2]
    for a,b in zip(*rows):
        for k in a: assert abs(float(a[k])-float(b[k]))<=2e-3*abs(float(a[k])), (k, a[k], b[k])

def test_command_in_two_processes_leaves_one_set_of_files(scenes, tmp_path):
    said = launch('-m', 'colorfast.cli', 'pretrain', scenes, '--out', tmp_path/'run', '--size', 32, '--bs', 8, '--epochs', 2)
    assert said.count('epoch 1/2')==1 and said.count('Report:')==1
    assert len(list(csv.DictReader(open(tmp_path/'run'/'log.csv'))))==2
    names = {o.name for o in (tmp_path/'run').iterdir()}
    assert {'results.json','report.html','body.safetensors','colorizer.safetensors','checkpoint.pth'} <= names and not [o for o in names if o.startswith('.') and o!='.colorfast-run']
    assert json.loads((tmp_path/'run'/'results.json').read_text())['config']['processes']==2
