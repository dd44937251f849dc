"A pretext, a task, an arm and a protocol from outside the package: tests/plugins.ipynb defines and uses them, and is run here."
import json, os, subprocess, sys
from pathlib import Path
import nbformat, pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Where the notebook ran"
    d,path = tmp_path_factory.mktemp('plugins'),os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT)]+([path] if path else []))
    try: NotebookClient(nbformat.read(ROOT/'tests'/'plugins.ipynb', 4), timeout=900, kernel_name='python3', resources={'metadata':{'path':str(d)}}).execute()
    finally: os.environ.pop('PYTHONPATH') if path is None else os.environ.update(PYTHONPATH=path)
    return d

def colorfast(*argv, cwd):
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH','')]))
    return subprocess.run([sys.executable, '-m', 'colorfast.cli', *map(str, argv)], capture_output=True, text=True, cwd=cwd, env=env)

def test_the_notebook_runs(folder):
    labels = json.loads((folder/'study'/'results.json').read_text())['config']['labels']
    assert labels['tasks']['count']['scores']['mae']==dict(label='mean error', unit='things', higher=False)
    assert labels['arms']['half']['label']=='pretrained, first half frozen' and labels['protocols']['rank']['unit']=='directions'

def test_a_study_of_plugins_in_several_processes(folder):
    r = colorfast('transfer', 'mine:Count', 'scenes', '--body', 'study', '--out', 'two', '--bs', 8, '--epochs', 1, '--arms', 'scratch,mine:half', '--workers', 2, cwd=folder)
    assert r.returncode==0, r.stdout+r.stderr
    one,two = [json.loads((folder/o/'results.json').read_text())['count'] for o in ('counted','two')]
    assert one==two

def test_files_that_name_a_plugin_load_nothing_by_themselves(folder):
    r = colorfast('colorize', 'pre', 'scenes/images/test', '--out', 'no', cwd=folder)
    assert r.returncode==2 and len(r.stderr.strip().splitlines())==1 and '--plugin mine' in r.stderr
    r = colorfast('colorize', 'pre', 'scenes/images/test', '--out', 'yes', '--plugin', 'mine', cwd=folder)
    assert r.returncode==0, r.stderr

def test_a_report_needs_no_plugin(folder):
    code = "from colorfast.report import report_study; print(report_study('study'))"
    env = dict(os.environ, PYTHONPATH=str(ROOT), MPLBACKEND='Agg')
    (folder/'elsewhere').mkdir()
    (folder/'study').rename(folder/'elsewhere'/'study')
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=folder/'elsewhere', env=env)
    (folder/'elsewhere'/'study').rename(folder/'study')
    assert r.returncode==0, r.stderr
    page = (folder/'study'/'report.html').read_text()
    assert 'Count the things' in page and 'pretrained, first half frozen' in page and 'things' in page
