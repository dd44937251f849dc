"The package that a user installs: its version, its wheel, its imports, its command."
import configparser, os, re, shutil, subprocess, sys, zipfile
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
ini = configparser.ConfigParser(delimiters=['=']); ini.read(ROOT/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
MODULES = [re.sub(r'^\d+[a-z]?_', '', p.stem) for p in sorted(ROOT.glob('nbs/[0-9]*_*.ipynb'))]

def run(*args, **kwargs):
    r = subprocess.run([str(o) for o in args], capture_output=True, text=True, **kwargs)
    assert r.returncode == 0, f'{" ".join(map(str, args))} ended with {r.returncode}\n{r.stdout[-2000:]}\n{r.stderr[-4000:]}'
    return r.stdout

def test_version():
    import colorfast
    assert colorfast.__version__ == cfg['version'], 'run nbdev_export: settings.ini and colorfast/__init__.py name different versions'
    assert re.search(rf'^## {re.escape(cfg["version"])}\b', (ROOT/'CHANGELOG.md').read_text(), re.M), f"CHANGELOG.md has no section for {cfg['version']}"

@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    "The wheel, built from a copy, so that the checkout stays as it is."
    tmp = tmp_path_factory.mktemp('wheel')
    skip = shutil.ignore_patterns('.git', '.venv', '_proc', '_docs', 'build', 'dist', '*.egg-info', '__pycache__', 'demo', 'runs')
    shutil.copytree(ROOT, tmp/'src', ignore=skip, symlinks=True)
    run(sys.executable, '-m', 'pip', 'wheel', '--no-deps', '--no-build-isolation', '-w', tmp, tmp/'src')
    return zipfile.ZipFile(next(tmp.glob('*.whl')))

def test_wheel_contents(wheel):
    names = set(wheel.namelist())
    missing = [o for o in [*MODULES, '__init__', 'all', '_modidx'] if f'colorfast/{o}.py' not in names]
    assert not missing, f'the wheel lacks {missing}'
    odd = [o for o in names if not o.startswith(('colorfast/', 'colorfast-'))]
    assert not odd, f'the wheel installs more than the package: {odd}'

def test_wheel_brings_weights(wheel, tmp_path):
    "The shipped colorizer is in the wheel, and is found where a wheel is unpacked, away from the checkout and offline."
    names = {o for o in wheel.namelist() if o.startswith('colorfast/weights/')}
    assert names == {f'colorfast/weights/{n}.{o}' for n in ('photos', 'color_prior') for o in ('safetensors', 'json')}
    for o in names: assert wheel.read(o) == (ROOT/o).read_bytes(), f'{o} is not that of the checkout'
    assert wheel.getinfo('colorfast/weights/photos.safetensors').file_size <= 5*2**20
    wheel.extractall(tmp_path/'site')
    code = ("import numpy as np, urllib.request; from colorfast.inference import colorize; from colorfast.transfer import load_body; import colorfast.files as f; "
            "f._opener = None; print(f.__file__, colorize(np.zeros((40,60), np.uint8)).size, load_body('photos'))")
    env = {**os.environ, 'MPLBACKEND': 'Agg', 'PYTHONPATH': str(tmp_path/'site'), 'COLORFAST_CACHE': str(tmp_path/'cache')}
    out = run(sys.executable, '-c', code, cwd=tmp_path, env=env)
    assert str(tmp_path) in out and '(60, 40)' in out and 'Body(resnet18' in out, out
    assert not (tmp_path/'cache').exists()

def test_sdist_brings_weights():
    "MANIFEST.in and setup.py name them, for the sdist and for the wheel made of it."
    assert 'graft colorfast/weights' in (ROOT/'MANIFEST.in').read_text().splitlines()
    assert re.search(r"package_data=.*'weights/\*\.safetensors', 'weights/\*\.json'", (ROOT/'setup.py').read_text())

def test_wheel_metadata(wheel):
    info = {Path(o).name: wheel.read(o).decode() for o in wheel.namelist() if '.dist-info/' in o}
    assert 'colorfast = colorfast.cli:main' in info['entry_points.txt']
    meta = info['METADATA']
    assert f"Version: {cfg['version']}" in meta and 'Requires-Python: >=3.11' in meta
    assert 'Apache-2.0' in meta and 'LICENSE' in info
    runtime = [o for o in re.findall(r'^Requires-Dist: (.*)', meta, re.M) if 'extra ==' not in o]
    assert {re.match(r'[\w-]+', o)[0] for o in runtime} == {re.match(r'[\w-]+', o)[0] for o in cfg['requirements'].split()}

def test_star_import(tmp_path):
    "`from colorfast.all import *` gives what the README uses, from any folder."
    names = ['make_scenes', 'ColorizeDataLoaders', 'MultilabelDataLoaders', 'SegmentDataLoaders', 'colorize_learner', 'save_body', 'load_body',
             'vision_learner', 'unet_learner', 'resnet18', 'APScoreMulti', 'colorize', 'model_card']
    code = f'from colorfast.all import *; missing = [o for o in {names} if o not in globals()]; assert not missing, missing'
    run(sys.executable, '-c', code, cwd=tmp_path, env={**os.environ, 'MPLBACKEND': 'Agg'})

def test_heavy_imports_wait(tmp_path):
    "What only one function needs, and takes long to load, is loaded when it is called."
    code = "import sys; from colorfast.all import *; print([o for o in ('sklearn.linear_model', 'sklearn.neighbors', 'torchmetrics', 'skimage') if o in sys.modules])"
    out = run(sys.executable, '-c', code, cwd=tmp_path, env={**os.environ, 'MPLBACKEND': 'Agg'})
    assert out.strip() == '[]', f'loaded with the package: {out}; bench/startup.py says what that costs'

def test_console_script(tmp_path):
    exe = Path(sys.executable).parent/'colorfast'
    if not exe.exists(): pytest.skip("the package is not installed beside this Python: pip install -e '.[dev]'")
    out = run(exe, '--help', cwd=tmp_path)
    missing = [o for o in ('demo', 'scenes', 'pretrain', 'colorize', 'transfer', 'study') if o not in out]
    assert not missing, f'colorfast --help does not name {missing}'

def test_readme_commands():
    "Two commands, each a single line that can be pasted alone."
    s = (ROOT/'README.md').read_text()
    for name,end in (('demo', 'colorfast demo'), ('test', 'nbdev_test && pytest')):
        m = re.search(rf'^<!-- command: {name} -->\n```bash\n(.*)\n```$', s, re.M)
        assert m, f'README.md has no single line of code under <!-- command: {name} -->'
        assert m[1].startswith('python3 -m venv .venv && . .venv/bin/activate && pip install ') and m[1].endswith(end), m[1]
