"""What a teacher makes from the tutorials: notebooks with gaps, and slides."""
import json, re, subprocess, sys
from pathlib import Path
import pytest

NBS = Path(__file__).resolve().parent.parent/'nbs'
TUTORIALS = sorted((NBS/'tutorials').glob('*.ipynb'))
sys.path.insert(0, str(NBS))
import teach

@pytest.fixture(scope='module')
def names(): return teach.public_names()

def read(p): return json.loads(p.read_text(encoding='utf-8'))
def src(c): return teach.text(c['source'])

@pytest.mark.parametrize('path', TUTORIALS, ids=lambda p: p.stem)
def test_gaps(path, names):
    nb = read(path)
    made,n = teach.with_gaps(nb, names)
    assert len(made['cells'])==len(nb['cells'])
    assert sum(src(c)!=src(o) for c,o in zip(made['cells'], nb['cells']) if c['cell_type']=='code')==n
    for c,o in zip(made['cells'], nb['cells']):
        if c['cell_type']=='markdown':
            assert '<details>' not in src(c)
            continue
        assert c.get('outputs')==o.get('outputs') # what one should see
        if teach.is_solution(src(o)):
            assert teach.GAP in src(c) and src(c).splitlines()[0].startswith(('def ',teach.GAP))
            compile(src(c), '', 'exec')
        elif src(c)!=src(o): # the tutorial is the key: what stands in the gap is its own
            before,after = src(c).split(teach.GAP)
            assert src(o).startswith(before) and src(o).endswith(after) and before.endswith('(') and after.startswith(')')
            compile(re.sub(r'^(\s*)[%!].*$', r'\1pass', src(c), flags=re.M), '', 'exec')

def test_every_lesson_has_gaps(names):
    lessons = [NBS/'tutorials'/f'{o}.ipynb' for o in ('colorize','multilabel','segmentation','photographs')]
    assert all(teach.with_gaps(read(o), names)[1]>=3 for o in lessons)
    whole,other,solutions = (teach.with_gaps(read(lessons[0]), names, every=o)[1] for o in (1,2,10**6))
    assert 0<solutions<whole and other==solutions+(whole-solutions)//2 # solutions are always taken out

def test_a_gap(names):
    at = lambda s: teach.gap_of(s, names)
    s = "x = 1\nlearn = colorize_learner(dls, 'é', metrics=[]) # so\nlearn.fit(3)"
    a,b = at(s)
    assert s[a:b]=="dls, 'é', metrics=[]"
    assert at('print(len(x))') is None and at('def f(): return colorize(x)') is None and at('x = (') is None
    assert at('%matplotlib inline\nlearn.fit_one_cycle(3)')==(len('%matplotlib inline\nlearn.fit_one_cycle('),len('%matplotlib inline\nlearn.fit_one_cycle(3')) 

@pytest.mark.parametrize('name', ['colorize','studies'])
def test_slides(name):
    nb = read(NBS/'tutorials'/f'{name}.ipynb')
    page = teach.slides_html(nb)
    heads = [l for c in nb['cells'] if c['cell_type']=='markdown' for l in re.findall(r'^#{1,3} .+', src(c), re.M)]
    assert page.count('<section')>len(heads) and '#| ' not in page and 'aside class="notes"' in page
    assert teach.first_sentence('One thing. Another thing.')==('One thing.',True) and not teach.first_sentence('One thing.')[1]

def test_command(tmp_path):
    def run(*args): return subprocess.run([sys.executable, str(NBS/'teach.py'), *map(str, args)], capture_output=True, text=True)
    (tmp_path/'bad.ipynb').write_text('{}')
    for args,why in ((('slides',tmp_path/'no.ipynb'),'cannot be read'), (('slides',tmp_path/'bad.ipynb'),'no cells'),
                     (('gaps',tmp_path/'bad.ipynb','--every',0),'expected 1 or more')):
        r = run(*args)
        assert r.returncode and why in r.stderr and 'Traceback' not in r.stderr
    r = run('slides', NBS/'tutorials'/'paper.ipynb', '--out', tmp_path)
    assert r.returncode==0 and (tmp_path/'paper.slides.html').stat().st_size>10_000
