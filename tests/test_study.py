"Studies and their parts from inside one process: what is refused, what is done again, and what is never lost."
import importlib.util, json, multiprocessing, os, shutil, signal, warnings
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from colorfast.cli import main
from colorfast.files import UserError, load_json, save_json
from colorfast.scenes import make_scenes
from colorfast.sources import RUN_MARK
from colorfast.study import Store, data_stamp, get_preset, run_pretrain, run_transfer
from colorfast.transfer import load_body
from colorfast.units import run_units

SMALL = ['--size', '32', '--bs', '16']

@pytest.fixture(autouse=True)
def quiet():
    "The command line says warnings in its own way: the next test has Python's again"
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        yield

@pytest.fixture
def said(capsys):
    "Run the command; its status, what it printed and what it said on standard error"
    def _f(*argv):
        capsys.readouterr()
        rc = main([str(o) for o in argv])
        return rc, *capsys.readouterr()
    return _f

def refused(r, *words):
    "Status 2 and one line that holds `words`"
    rc,out,err = r
    assert rc==2 and len(err.strip().splitlines())==1, (out, err)
    for w in words: assert w in err, err

@pytest.fixture(scope='module')
def root(tmp_path_factory):
    "Small scenes, and a run of two epochs on them"
    d = tmp_path_factory.mktemp('study')
    make_scenes(d/'scenes', n_unlabeled=48, n_train=32, n_val=16, n_test=16, size=32, progress=False)
    run_pretrain(d/'scenes', d/'run', get_preset(size=32, bs=16, epochs=2, pretext='regression'))
    return d

@pytest.fixture
def run(root, tmp_path):
    "A copy of the run"
    return Path(shutil.copytree(root/'run', tmp_path/'run'))

# ---------------------------------------------------------------- an interrupted pretraining

@pytest.mark.parametrize('change,name', [(['--seed', 1], 'seed'), (['--lr', 1e-3], 'lr'), (['--bs', 8], 'batch'), (['--size', 48], 'size'),
                                         (['--limit', 12], 'limit'), (['--arch', 'xresnet18'], 'arch'), (['--pretext', 'cgan'], 'pretext'),
                                         (['--max-stride', 4], 'max_stride'), (['--set', 'schedule=flat'], 'schedule')])
def test_resume_refuses_other_settings_by_name(root, run, said, change, name):
    before = (run/'checkpoint.pth').read_bytes()
    refused(said('pretrain', root/'scenes', '--out', run, '--epochs', 2, '--pretext', 'regression', '--resume', *SMALL, *change), name)
    assert (run/'checkpoint.pth').read_bytes()==before # nothing trained is lost

def test_resume_refuses_other_pictures(root, run, said, tmp_path):
    make_scenes(tmp_path/'other', n_unlabeled=48, n_train=32, n_val=16, n_test=16, size=32, seed=1, progress=False)
    refused(said('pretrain', tmp_path/'other', '--out', run, '--epochs', 2, '--pretext', 'regression', '--resume', *SMALL), 'pictures')

def test_resume_takes_more_epochs_and_says_so(root, run, said):
    args = ['pretrain', root/'scenes', '--out', run, '--pretext', 'regression', '--resume', *SMALL]
    refused(said(*args, '--epochs', 1), '2 epochs', '1')
    rc,out,_ = said(*args, '--epochs', 3)
    assert rc==0 and 'epoch 3/3' in out and 'epoch 2/3' not in out
    res = json.loads((run/'results.json').read_text())
    assert res['config']['epochs']==3 and res['config']['resumed_from']==res['colorization']['resumed_from']==[2]
    for o in ('colorizer','body'): assert load_json(run/f'{o}.json')['resumed_from']==[2] and load_json(run/f'{o}.json')['epochs']==3
    assert 'At first 2 epochs' in (run/'report.html').read_text()
    refused(said(*args, '--epochs', 2), '3 epochs', '2')

def test_a_resumed_run_has_no_other_numbers(root, run, said):
    before = json.loads((run/'results.json').read_text())['colorization']
    rc,out,_ = said('pretrain', root/'scenes', '--out', run, '--epochs', 2, '--pretext', 'regression', '--resume', *SMALL)
    after = json.loads((run/'results.json').read_text())
    assert rc==0 and 'epoch' not in out and 'resumed_from' not in after['config']
    assert after['colorization']==before

# ---------------------------------------------------------------- before data are read

@pytest.mark.parametrize('argv,words', [(['--size', 16], ['16 px', '24 px']), (['--size', 20], ['20 px', '24 px']), (['--size', 100000], ['100000x100000 px']),
                                        (['--arch', 'resnet19'], ['resnet19']), (['--set', 'arch=5'], ["'arch' is 5"]), (['--set', 'lr=[]'], ["'lr' is []"]),
                                        (['--lr', 'nan'], ["'lr' is nan"]), (['--set', 'tune.lr=[]'], ["'tune.lr'"]), (['--set', 'limit=none', 'scenes=3'], ["'scenes' is 3"])])
def test_settings_that_cannot_work(root, said, tmp_path, argv, words):
    refused(said('pretrain', root/'scenes', '--out', tmp_path/'o', *argv), *words)
    assert not (tmp_path/'o').exists()

def test_sizes_below_the_critics_work_without_one(root, said, tmp_path):
    for size in (16,20): assert said('pretrain', root/'scenes', '--out', tmp_path/f'o{size}', '--size', size, '--epochs', 1, '--pretext', 'regression')[0]==0

def test_an_empty_name_is_no_folder(root, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(said('pretrain', '', '--out', 'o'), "''")
    refused(said('pretrain', root/'scenes', '--out', ''), "''")
    refused(said('study', '--colorize-data', root/'scenes', '--downstream-data', '', '--out', 'o'), "''")
    assert not list(tmp_path.iterdir())

def test_a_rate_that_nothing_survives(root, said, tmp_path):
    for n in (8,48): # one batch, and several
        refused(said('pretrain', root/'scenes', '--out', tmp_path/'o', '--lr', '1e30', '--limit', n, '--epochs', 1, *SMALL), 'learning rate')
    refused(said('transfer', 'multilabel', root/'scenes', '--body', root/'run', '--out', tmp_path/'t', '--lr', '1e30', '--epochs', 1, '--bs', 16, '--workers', 1), 'learning rate')
    assert not list(tmp_path.glob('*/results.json')) and not list(tmp_path.glob('*/*.safetensors'))

# ---------------------------------------------------------------- a run inside of its own data

def test_a_run_inside_of_the_data_adds_no_pictures(said, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path/'photos').mkdir()
    for i in range(24): Image.fromarray(rng.integers(0, 255, (40,40,3), dtype=np.uint8)).save(tmp_path/'photos'/f'{i}.png')
    stamp,n = data_stamp(tmp_path/'photos'),[]
    for i in range(2):
        assert said('pretrain', tmp_path/'photos', '--out', tmp_path/'photos'/'run', '--epochs', 1, '--pretext', 'regression', *SMALL)[0]==0
        n.append(json.loads((tmp_path/'photos'/'run'/'results.json').read_text())['colorization']['n'])
    assert n[0]==n[1] and list((tmp_path/'photos'/'run').glob('*.png'))
    assert data_stamp(tmp_path/'photos')==stamp
    assert said('colorize', tmp_path/'photos'/'run', tmp_path/'photos'/'1.png', '--out', tmp_path/'photos'/'painted')[0]==0
    assert (tmp_path/'photos'/'painted'/RUN_MARK).exists() and data_stamp(tmp_path/'photos')==stamp

def test_a_run_is_marked_before_data_are_read(said, tmp_path):
    (tmp_path/'empty').mkdir()
    refused(said('pretrain', tmp_path/'empty', '--out', tmp_path/'o'), 'empty')
    assert (tmp_path/'o'/RUN_MARK).exists()

# ---------------------------------------------------------------- stored units

@pytest.fixture(scope='module')
def done(root):
    "A finished transfer of the pair"
    run_transfer('multilabel', root/'scenes', root/'run', root/'done', get_preset(size=32, tasks=['multilabel'], multilabel=dict(epochs=1)))
    return root/'done'

def again(root, out, capsys, **over):
    "The same once more; the units that were done again, by reason"
    cfg = get_preset(size=32, tasks=['multilabel'], multilabel=dict(epochs=1), **over)
    capsys.readouterr()
    run_transfer('multilabel', root/'scenes', root/'run', out, cfg)
    return [o for o in capsys.readouterr().out.splitlines() if 'done again' in o]

@pytest.mark.parametrize('damage', [b'', b'{"map": 0.', b'[1,2]', b'\xff\xfe\x00'])
def test_a_damaged_unit_is_done_again(root, done, tmp_path, capsys, damage):
    out = Path(shutil.copytree(done, tmp_path/'out'))
    before = json.loads((out/'results.json').read_text())['multilabel']
    (out/'units'/'multilabel_scratch_0.json').write_bytes(damage)
    line, = again(root, out, capsys)
    assert 'multilabel_scratch_0' in line and 'damaged' in line
    assert json.loads((out/'results.json').read_text())['multilabel']==before

def test_what_made_a_unit_is_known(root, done, tmp_path, capsys):
    out = Path(shutil.copytree(done, tmp_path/'out'))
    assert again(root, out, capsys)==[]
    fn = out/'units'/'multilabel_pretrained_0.json'
    unit = load_json(fn)
    for made,word in ((dict(version='0.0.1'), 'version was 0.0.1'), (dict(body='0'), 'another body'), (dict(data='0'), 'other pictures'),
                      (dict(settings=unit['made']['settings']|dict(size=48)), 'size was 48, is 32')):
        save_json(unit|dict(made=unit['made']|made), fn)
        line, = again(root, out, capsys)
        assert 'multilabel_pretrained_0' in line and word in line, line
    save_json({k:v for k,v in unit.items() if k!='made'}, fn)
    assert 'earlier version' in again(root, out, capsys)[0]
    (out/'units'/'multilabel_scratch_0.npz').write_bytes((out/'units'/'multilabel_scratch_0.npz').read_bytes()[:100])
    assert 'npz is damaged' in again(root, out, capsys)[0]

def test_other_pictures_are_another_unit(root, done, tmp_path, capsys):
    data = Path(shutil.copytree(root/'scenes', tmp_path/'scenes')) # copies keep their times
    assert data_stamp(data)==data_stamp(root/'scenes')
    next((data/'images'/'train').iterdir()).touch()
    assert data_stamp(data)!=data_stamp(root/'scenes')

def test_settings_of_a_failed_start_do_not_bind(root, tmp_path, said):
    (tmp_path/'empty').mkdir()
    args = ['transfer', 'multilabel', '--body', root/'run', '--out', tmp_path/'o', '--bs', 16, '--workers', 1]
    refused(said(*args, tmp_path/'empty', '--epochs', 1), 'empty')
    assert said(*args, root/'scenes', '--epochs', 2)[0]==0
    refused(said(*args, root/'scenes', '--epochs', 1), 'other settings', '--out')

def test_units_in_several_processes_of_which_one_is_killed(tmp_path):
    mark = tmp_path/'mark'
    def work(o):
        if o==4 and not mark.exists(): mark.touch(); os.kill(os.getpid(), signal.SIGKILL)
        assert multiprocessing.current_process().name!='MainProcess' # bars are for that one
        return o*o,torch.get_num_threads()
    assert dict(run_units([-3,4,-5], work, workers=2))=={o:(o*o,1) for o in (-3,4,-5)}
    with pytest.raises(TypeError): list(run_units([1,'a'], abs, workers=2))

# ---------------------------------------------------------------- heads, classes that count, bodies, recipes

def test_settings_of_transfer_that_cannot_work(root, said, tmp_path):
    args = ['transfer', 'multilabel', root/'scenes', '--body', root/'run', '--out', tmp_path/'o', '--workers', 1]
    for more,words in ((['--set', 'multilabel.classes=car,kat'], ['no class is called kat', 'expected names out of']), (['--set', 'multilabel.head.kind=deep'], ['deep', 'linear']),
                       (['--set', 'multilabel.frozen_epochs=99'], ['frozen_epochs', 'less than']), (['--bodies', f'mine={tmp_path}/nowhere'], ['nowhere']),
                       (['--bodies', f'scratch={root}/run'], ['the name scratch is taken']), (['--tune', 'bs=1,2'], ["'tune.bs'", 'tune.wd']), (['--set', 'multilabel.wd=-1'], ["'multilabel.wd'"])):
        refused(said(*args, *more), *words)
    assert not list(tmp_path.glob('o/units/*.json'))

def test_a_ceiling_and_both_comparisons(root, said, tmp_path):
    "With everything that is new: each arm has its trials, and what is shared is trained once"
    for o in ('json','safetensors'): shutil.copy(root/'run'/f'body.{o}', tmp_path/f'ceiling.{o}')
    save_json(load_json(tmp_path/'ceiling.json')|dict(label_free=False), tmp_path/'ceiling.json')
    args = ['transfer', 'multilabel', root/'scenes', '--body', root/'run', '--out', tmp_path/'o', '--workers', 1, '--epochs', 2, '--bs', 16, '--bodies', f'ceiling={tmp_path}/ceiling',
            '--tune', 'lr=1e-3,1e-4:1e-2', 'frozen_epochs=0,1', '--set', 'multilabel.head=linear', 'multilabel.wd=.1', 'multilabel.classes=car,tree']
    rc,out,err = said(*args)
    assert rc==0, err
    r = json.loads((tmp_path/'o'/'results.json').read_text())['multilabel']
    assert {len(o['tried']) for o in r['tuning'].values()}=={4} and set(r['same_recipe'])=={'pretrained','ceiling'}
    for a,v in r['same_recipe'].items(): assert v['scratch']['scratch']==r['scratch'] # the recipe is its own
    same = [a for a in r['same_recipe'] if r['tuning'][a]['chosen']==r['tuning']['scratch']['chosen']]
    like = [o.name for o in (tmp_path/'o'/'units').glob('*_like_*.json')]
    assert len(like)==2-len(same) and out.count('head first')>0
    assert set(r['scratch'])=={'map','map_all','exact_match','accuracy','f1'} and len(r['each_class']['ceiling'])==20
    page = (tmp_path/'o'/'report.html').read_text()
    for o in ('ceiling (trained with labels)', 'is a ceiling', 'best recipe of each', 'same recipe, as chosen by from scratch', 'mean over car, tree'): assert o in page, o
    rc,out,_ = said(*args, '--seeds', 1)
    assert rc==0 and 'epoch' not in out # nothing is done twice

@pytest.fixture(scope='module')
def bench():
    spec = importlib.util.spec_from_file_location('supervised', Path(__file__).parent.parent/'bench'/'supervised.py')
    mod = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(mod)
    return mod

def test_the_ceiling_is_a_body(bench, tmp_path, capsys, monkeypatch):
    "Trained on folders that are classes; parts of epochs; the same where it was interrupted"
    rng = np.random.default_rng(0)
    for c,shift in (('sky',0),('wood',90)):
        (tmp_path/'data'/'train'/c/'images').mkdir(parents=True)
        for i in range(20): Image.fromarray((rng.integers(0, 160, (40,40,3))+shift).clip(0, 255).astype(np.uint8)).save(tmp_path/'data'/'train'/c/'images'/f'{i}.png')
    (tmp_path/'data'/'val'/'images').mkdir(parents=True)
    for i in range(4): shutil.copy(tmp_path/'data'/'train'/'sky'/'images'/f'{i}.png', tmp_path/'data'/'val'/'images'/f'v{i}.png')
    (tmp_path/'data'/'val'/'val_annotations.txt').write_text(''.join(f'v{i}.png\tsky\t0\t0\n' for i in range(4)))
    kw = dict(pictures=88, size=32, bs=8)
    card = bench.supervise(tmp_path/'data', tmp_path/'a', **kw)
    assert '40 photographs of 2 classes to train, 4 to validate; 88 are shown in 3 epochs' in capsys.readouterr().out
    body = load_body(tmp_path/'a')
    assert card['label_free'] is False and body.card['pictures']==88 and body.sees==1 and body.max_stride==card['max_stride']
    class Stopped(bench.Checkpoint):
        def after_epoch(self):
            super().after_epoch()
            raise KeyboardInterrupt
    monkeypatch.setattr(bench, 'Checkpoint', Stopped)
    with pytest.raises(KeyboardInterrupt): bench.supervise(tmp_path/'data', tmp_path/'b', **kw)
    monkeypatch.undo()
    bench.supervise(tmp_path/'data', tmp_path/'b', **kw)
    assert 'of which 1 are done' in capsys.readouterr().out
    for k,v in load_body(tmp_path/'b').weights.items(): assert (v==body.weights[k]).all(), k
    with pytest.raises(UserError, match='lie in no class'): bench.supervise(tmp_path/'data'/'val'/'images', tmp_path/'c')
