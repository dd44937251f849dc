"Studies on a cluster: a worker that is killed in the middle of a unit, an interrupt, and numbers that do not depend on where they were made."
import json, os, signal, subprocess, sys, threading, time
import numpy as np, pytest, torch
from colorfast.files import UserError
from colorfast.scenes import make_scenes
from colorfast.study import get_preset, run_transfer
from colorfast.units import check_backend

distributed,psutil = map(pytest.importorskip, ('distributed','psutil')) # the second comes with the first
ENV = dict(os.environ, COLORFAST_NO_BROWSER='1', OMP_NUM_THREADS='1', PYTHONUNBUFFERED='1')
CFG = dict(size=32, arms=['scratch','scratch_frozen'])

@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    "Small scenes"
    return make_scenes(tmp_path_factory.mktemp('cluster')/'scenes', n_unlabeled=16, n_train=32, n_val=16, n_test=16, size=32, progress=False)

@pytest.fixture(scope='module')
def workers(tmp_path_factory):
    "A Dask cluster of this machine: its address, and two worker processes that say what they do"
    d = tmp_path_factory.mktemp('dask')
    with distributed.LocalCluster(n_workers=0, dashboard_address=None, host='127.0.0.1') as c:
        at = c.scheduler_address.removeprefix('tcp://')
        cmd = [sys.executable, '-m', 'distributed.cli.dask_worker', at, '--nthreads', '1', '--no-nanny', '--no-dashboard', '--local-directory', str(d)]
        ps = [subprocess.Popen(cmd, env=ENV, cwd=d, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
        c.wait_for_workers(2, timeout=120)
        try: yield f'dask://{at}',ps
        finally:
            for p in ps: p.kill()

def when_trains(p, f):
    "Call `f` as soon as the worker `p` says that it trains; its pipe is emptied in any case"
    def _read():
        said = False
        for line in p.stdout:
            if 'epoch' in line and not said: said = True; f()
    threading.Thread(target=_read, daemon=True).start()

def transfer(scenes, out, epochs, **kw):
    "Scores, and all that was stored of each unit, times aside"
    cfg = get_preset(**CFG, tasks=['multilabel'], multilabel=dict(epochs=epochs))
    res = run_transfer('multilabel', scenes, 'scratch', out, cfg, seeds=2, **kw)['multilabel']
    return res, {o.name:o for o in (out/'units').iterdir() if o.stem not in ('seconds','devices')}

def test_a_lost_worker_changes_no_number(scenes, workers, tmp_path, capfd):
    backend,(lost,kept) = workers
    when_trains(lost, lost.kill)
    when_trains(kept, lambda: None)
    res,files = transfer(scenes, tmp_path/'there', 4, backend=backend)
    assert lost.wait(10)==-signal.SIGKILL and 'lost the worker' in capfd.readouterr().out
    torch.set_num_threads((before := torch.get_num_threads())+1) # of this process; a unit has its own
    try: want,own = transfer(scenes, tmp_path/'here', 4)
    finally: torch.set_num_threads(before)
    assert res==want and set(files)==set(own) and len([o for o in own if o.endswith('.json')])==4
    for k,o in own.items():
        if k.endswith('.json'): assert json.loads(o.read_text())==json.loads(files[k].read_text())
        else: same(*[torch.load(f, weights_only=True) if k.endswith('.pth') else dict(np.load(f)) for f in (o, files[k])])
    # Ctrl-C frees what is left of the cluster at once
    with distributed.Client(backend.removeprefix('dask://'), set_as_default=False) as c:
        busy = lambda: sum(c.run(lambda dask_worker: dask_worker.state.executing_count).values())
        def _interrupt():
            while not busy(): time.sleep(.1)
            time.sleep(1)
            signal.raise_signal(signal.SIGINT)
        threading.Thread(target=_interrupt, daemon=True).start()
        before = signal.signal(signal.SIGINT, signal.default_int_handler) # what runs in the background ignores it
        try:
            with pytest.raises(KeyboardInterrupt): transfer(scenes, tmp_path/'long', 900, backend=backend)
        finally: signal.signal(signal.SIGINT, before)
        until = time.time()+20
        while busy() and time.time()<until: time.sleep(.1)
        assert not busy()

def same(a, b):
    "Arrays or tensors by name, to the last bit"
    assert set(a)==set(b)
    for k in a: assert a[k].dtype==b[k].dtype and (a[k]==b[k]).all(), k

def alive(group):
    "Command lines of the processes of a group"
    res = []
    for o in psutil.process_iter(['status', 'cmdline']):
        try: res += [o.info['cmdline']] if os.getpgid(o.pid)==group and o.info['status']!=psutil.STATUS_ZOMBIE else []
        except OSError: pass
    return res

def test_interrupt_ends_a_study_that_goes_on(scenes, tmp_path):
    out = tmp_path/'study'
    cmd = [sys.executable, '-m', 'colorfast.cli', 'study', '--colorize-data', scenes, '--downstream-data', scenes, '--out', out, '--size', 32, '--bs', 16, '--epochs', 1, '--pretext',
           'regression', '--arms', 'scratch,scratch_frozen', '--set', 'tasks=["multilabel"]', 'multilabel.epochs=8', '--seeds', 3]
    p = subprocess.Popen([*map(str, cmd), '--workers', '2'], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    done = lambda: {o.name:o.stat().st_mtime_ns for o in (out/'units').glob('multilabel*.json')}
    try:
        while not (out/'units').exists() or not done():
            assert p.poll() is None, p.stderr.read()
            time.sleep(.05)
        os.killpg(p.pid, signal.SIGINT) # as a terminal does
        begin = time.time()
        _,err = p.communicate(timeout=60) # returns when no process is left that could write
    finally: p.kill()
    assert p.returncode==130 and time.time()-begin<15 and 'the same command goes on' in err and 'Traceback' not in err
    until = time.time()+5
    while (left := alive(p.pid)) and time.time()<until: time.sleep(.1)
    assert not left
    kept = done()
    assert 0<len(kept)<6
    subprocess.run([*map(str, cmd), '--workers', '1'], env=ENV, check=True, stdout=subprocess.DEVNULL, timeout=300)
    assert len(done())==6 and kept.items() <= done().items()

def test_what_is_no_backend(workers):
    for o,why in (('foo','expected local'), ('dask://x','expected local'), ('dask://127.0.0.1:1','no one answers'), ('ray://127.0.0.1:1','pip install|no one answers')):
        with pytest.raises(UserError, match=why): check_backend(o)
    check_backend(workers[0])
