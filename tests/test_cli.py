"The command line from outside: what a user types, what comes out, and what happens when it is stopped."
import csv, json, os, signal, subprocess, sys, time
from pathlib import Path
import numpy as np, pytest
from PIL import Image

ENV = dict(os.environ, COLORFAST_NO_BROWSER='1', OMP_NUM_THREADS='1', PYTHONUNBUFFERED='1')
SMALL = ['--size', '32', '--bs', '16']

def colorfast(*argv, ok=True, **kw):
    "Run the command; its completed process"
    r = subprocess.run([sys.executable, '-m', 'colorfast.cli', *map(str, argv)], capture_output=True, text=True, env=ENV, **kw)
    if ok: assert r.returncode==0, r.stdout+r.stderr
    return r

def one_line(r, *words):
    "Status 2 and one line on standard error that holds `words`"
    assert r.returncode==2, r.stdout+r.stderr
    lines = r.stderr.strip().splitlines()
    assert len(lines)==1 and 'Traceback' not in r.stderr, r.stderr
    for w in words: assert w in lines[0], lines[0]

@pytest.fixture(scope='module')
def root(tmp_path_factory):
    "A folder with small scenes and a pretrained run"
    d = tmp_path_factory.mktemp('cli')
    colorfast('scenes', d/'scenes', '--n-unlabeled', 48, '--n-train', 32, '--n-valid', 16, '--n-test', 16, '--size', 32)
    r = colorfast('pretrain', d/'scenes', '--out', d/'run', '--epochs', 2, *SMALL)
    (d/'stdout.txt').write_text(r.stdout)
    return d

def test_pretrain_leaves_everything(root):
    names = {o.name for o in (root/'run').iterdir()}
    assert names >= {'results.json','report.html','log.csv','colorizer.safetensors','colorizer.json','body.safetensors','body.json','colorings.png','progress.png'}
    res = json.loads((root/'run'/'results.json').read_text())
    c = res['colorization']
    for k in ('psnr','ssim'): assert set(c[k])-{'pooled'}=={'avg','min','max'} and c[k]['min']<=c[k]['avg']<=c[k]['max']
    for row in ('grey','mean_color','image_mean'): assert {'psnr','ssim'} <= set(c[row])
    assert set(c['colorfulness'])=={'prediction','truth'} and c['split']=='test'
    assert res['environment']['versions']['torch'] and res['config']['size']==32

def test_redirected_output_is_a_line_an_epoch(root):
    lines = [o for o in (root/'stdout.txt').read_text().splitlines() if 'epoch' in o]
    assert [o.split('epoch ')[1].split()[0] for o in lines]==['1/2','2/2']
    assert '\r' not in (root/'stdout.txt').read_text()
    rows = list(csv.DictReader(open(root/'run'/'log.csv')))
    assert [o['epoch'] for o in rows]==['1','2'] and {'train_loss','psnr','l1','adv','critic_real','critic_fake'} <= set(rows[0])

def test_report_is_self_contained(root):
    h = (root/'run'/'report.html').read_text()
    assert 'data:image/png;base64' in h and 'src="http' not in h and '<script' not in h
    assert 'colorfast pretrain' in h # how to run it again
    assert 'gray (ab = 0)' in h and 'mean color' in h # the do-nothing rows

def test_colorize_keeps_size_and_goes_on(root):
    src = root/'old'; src.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (70,130), dtype=np.uint8)).save(src/'ein Bild ü.png')
    Image.new('RGBA', (33,47), (90,90,90,128)).save(src/'alpha.png')
    (src/'bad.jpg').write_bytes(b'no picture')
    r = colorfast('colorize', root/'run', src, '--out', root/'colored')
    assert 'bad.jpg' in r.stdout+r.stderr
    assert Image.open(root/'colored'/'ein Bild ü.png').size==(130,70)
    assert Image.open(root/'colored'/'alpha.png').mode=='RGBA'

@pytest.mark.parametrize('task,score', [('multilabel','map'), ('segment','miou')])
def test_transfer(root, task, score):
    out = root/task
    colorfast('transfer', task, root/'scenes', '--body', root/'run', '--out', out, '--epochs', 1, *SMALL)
    res = json.loads((out/'results.json').read_text())[task]
    assert len(res['scratch'][score])==len(res['pretrained'][score])==1 and len(res['gain'][score]['ci95'])==2
    t = time.time()
    r = colorfast('transfer', task, root/'scenes', '--body', root/'run', '--out', out, '--epochs', 1, *SMALL)
    assert 'epoch' not in r.stdout # done already: nothing is trained again
    one_line(colorfast('transfer', task, root/'scenes', '--body', root/'run', '--out', out, '--epochs', 2, *SMALL, ok=False), 'other settings', '--out')

def test_limit(root):
    colorfast('pretrain', root/'scenes', '--out', root/'few', '--epochs', 1, '--limit', 12, *SMALL)
    res = json.loads((root/'few'/'results.json').read_text())
    assert res['colorization']['n']==12 and res['config']['limit']==12
    one_line(colorfast('pretrain', root/'scenes', '--out', root/'none', '--limit', 0, *SMALL, ok=False), '--limit', 'above 0')

def test_killed_run_resumes_to_the_same_losses(root):
    whole,cut = root/'whole',root/'cut'
    args = ['pretrain', root/'scenes', '--epochs', 4, *SMALL]
    colorfast(*args, '--out', whole)
    p = subprocess.Popen([sys.executable, '-m', 'colorfast.cli', *map(str, args), '--out', str(cut)], env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.time()+300
    while not (cut/'checkpoint.pth').exists() and p.poll() is None and time.time()<until: time.sleep(.05)
    p.send_signal(signal.SIGKILL); p.wait()
    done = len(list(csv.reader(open(cut/'log.csv')))) - 1 if (cut/'log.csv').exists() else 0
    assert done<4, 'the run ended before it could be killed'
    colorfast(*args, '--out', cut, '--resume')
    a,b = [json.loads((o/'results.json').read_text())['colorization']['psnr'] for o in (whole,cut)]
    assert a==b # same machine, same threads: the same to the last bit
    rows = [{r['epoch']:r['l1'] for r in csv.DictReader(open(o/'log.csv'))} for o in (whole,cut)]
    assert rows[0]==rows[1]

def test_interrupt_says_how_to_go_on(root):
    p = subprocess.Popen([sys.executable, '-m', 'colorfast.cli', 'pretrain', str(root/'scenes'), '--out', str(root/'int'), '--epochs', '500', *SMALL],
                         env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) # tests in the background of a shell inherit that it is ignored
    try:
        until = time.time()+300
        while not (root/'int'/'checkpoint.pth').exists() and p.poll() is None and time.time()<until: time.sleep(.05)
        p.send_signal(signal.SIGINT)
        _,err = p.communicate(timeout=120)
    finally: p.kill()
    assert p.returncode==130 and '--resume' in err and 'Traceback' not in err

def test_interrupt_ends_the_workers(root):
    p = subprocess.Popen([sys.executable, '-m', 'colorfast.cli', 'transfer', 'multilabel', str(root/'scenes'), '--body', str(root/'run'), '--out', str(root/'ended'), '--workers', '2', '--epochs', '900', *SMALL],
                         env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        while 'epoch' not in (line := p.stdout.readline()): assert line, p.stderr.read()
        p.send_signal(signal.SIGINT)
        _,err = p.communicate(timeout=120) # returns when no process is left that could write
    finally: p.kill()
    assert p.returncode==130 and 'the same command goes on' in err and 'Traceback' not in err

def test_mistakes_get_one_line(root, tmp_path):
    one_line(colorfast('pretrain', tmp_path/'nowhere', '--out', tmp_path/'o', ok=False), 'nowhere', 'does not exist')
    (tmp_path/'empty').mkdir()
    one_line(colorfast('pretrain', tmp_path/'empty', '--out', tmp_path/'o', ok=False), 'empty')
    one_line(colorfast('pretrain', root/'scenes', '--out', tmp_path/'o', '--arch', 'resnet19', *SMALL, ok=False), 'resnet19')
    one_line(colorfast('colorize', tmp_path/'empty', 'x.jpg', '--out', tmp_path/'o', ok=False), 'colorizer')
    one_line(colorfast('transfer', 'segment', root/'scenes', '--body', tmp_path/'empty', '--out', tmp_path/'o', ok=False), 'body')
    one_line(colorfast('scenes', root/'scenes', '--size', 16, ok=False), 'scenes')
    one_line(colorfast('paint', ok=False), 'invalid choice')
    for o in ('--epochs=0', '--bs=-4', '--size=8', '--set=lr=fast'):
        one_line(colorfast('pretrain', root/'scenes', '--out', tmp_path/'p', o, ok=False), 'expected')
    one_line(colorfast('transfer', 'segment', root/'scenes', '--body', 'scratch', '--out', tmp_path/'p', '--seeds', -1, ok=False), 'above 0')
    assert not (tmp_path/'p').exists() # nothing was begun
    assert 'Traceback' in colorfast('pretrain', tmp_path/'nowhere', '--out', tmp_path/'o', '--debug', ok=False).stderr

def test_study_schema_and_second_call(root):
    args = ['study', '--colorize-data', root/'scenes', '--downstream-data', root/'scenes', '--out', root/'study', '--epochs', 1, *SMALL, '--seeds', 2, '--set', 'multilabel.epochs=2', 'segment.epochs=2']
    colorfast(*args)
    res = json.loads((root/'study'/'results.json').read_text())
    assert set(res)=={'colorization','multilabel','segment','config','environment'}
    for t,ks in (('multilabel',{'map','exact_match','accuracy','f1'}), ('segment',{'miou','pixel_accuracy'})):
        for arm in ('scratch','pretrained'): assert set(res[t][arm])==ks and all(len(v)==2 for v in res[t][arm].values())
        for k in ks: assert set(res[t]['gain'][k])>={'mean','ci95'} and len(res[t]['gain'][k]['ci95'])==2
    assert set(res['environment'])=={'versions','device','threads','seconds','date'}
    before = {o.name:o.stat().st_mtime_ns for o in (root/'study'/'units').iterdir()}
    assert 'epoch' not in colorfast(*args).stdout
    after = lambda: {o.name:o.stat().st_mtime_ns for o in (root/'study'/'units').iterdir()}
    assert before==after()
    twin = [root/'twin' if o==root/'study' else o for o in args]
    colorfast(*twin, '--workers', 2) # at once, or one after the other: the same
    assert all(json.loads((root/'twin'/'results.json').read_text())[t]==res[t] for t in ('multilabel','segment'))
    more = colorfast(*args, '--budgets', '16', '--frozen').stdout # a study may grow
    assert 'segment scratch 0 of 16' in more and 'multilabel pretrained_frozen 1' in more and 'multilabel scratch 0  ' not in more
    assert before.items() <= (after() | {'seconds.json':before['seconds.json']}).items()
    res = json.loads((root/'study'/'results.json').read_text())
    assert len(res['segment']['budgets']['16']['pretrained']['miou'])==2 and 'pretrained_frozen' in res['multilabel']['gains']
    one_line(colorfast(*args, '--size', 64, ok=False), 'other settings (size)')

def test_help_comes_at_once(tmp_path):
    "From the docments, without torch"
    for argv in ([], ['pretrain'], ['transfer'], ['study']):
        code = f"import sys; from colorfast.cli import main\ntry: main({argv+['--help']})\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
        begin = time.time()
        r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path, env=dict(ENV, PYTHONPATH=os.pathsep.join(sys.path)))
        assert r.stdout.rstrip().endswith('False'), r.stdout+r.stderr
        assert time.time()-begin<3 # 0.2 s where nothing else runs
    assert 'Pairs of downstream runs; the colorizer is trained once' in ' '.join(r.stdout.split()) # as the function says

def test_more_mistakes_get_one_line(root, tmp_path):
    for argv,words in ((['transfer', 'depth', root/'scenes', '--body', 'scratch'], ('depth', 'module:Name')),
                       (['transfer', 'nowhere:Count', root/'scenes', '--body', 'scratch'], ('nowhere',)),
                       (['transfer', 'segment', root/'scenes', '--body', 'scratch', '--set', 'segment.unet=Flat'], ('Flat', 'SlimUnet')),
                       (['pretrain', root/'scenes', '--pretext', 'jigsaw'], ('jigsaw', 'cgan')),
                       (['study', '--colorize-data', root/'scenes', '--downstream-data', root/'scenes', '--arms', 'scratch,shaken'], ('shaken', 'pretrained')),
                       (['pretrain', root/'scenes', '--plugin', 'nowhere'], ('--plugin nowhere',))):
        one_line(colorfast(*argv, '--out', tmp_path/'o', *SMALL, ok=False), *words)
    assert not (tmp_path/'o').exists()
