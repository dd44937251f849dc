"Weights from the package, from paths and from URLs: what arrives is whole and what was asked for, or one line says why not."
import contextlib, hashlib, json, os, shutil, subprocess, sys, threading, zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from colorfast.files import UserError, cache_dir, file_sha256, load_json, load_weights, save_weights, shipped_weights, to_half, weights_file
from colorfast.inference import Colorizer, colorize, model_card
from colorfast.learner import load_colorizer
from colorfast.transfer import load_body, load_unet

ROOT = Path(__file__).resolve().parent.parent

class Site:
    "A server on this machine: `files` by path; `asked` is what was asked for; `moved` sends on; `cut` sends less than it says"
    def __init__(self):
        self.files,self.asked,self.moved,self.cut = {},[],{},set()
        site = self
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args): pass
            def do_GET(self):
                path = self.path.partition('?')[0]
                site.asked.append(self.path)
                if path in site.moved:
                    self.send_response(302); self.send_header('Location', site.moved[path]); self.end_headers()
                elif path not in site.files: self.send_error(404)
                else:
                    data = site.files[path]
                    self.send_response(200); self.send_header('Content-Length', str(len(data))); self.end_headers()
                    with contextlib.suppress(ConnectionError): self.wfile.write(data[:len(data)//2] if path in site.cut else data)
        self.server = ThreadingHTTPServer(('127.0.0.1',0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f'http://127.0.0.1:{self.server.server_port}'
    def close(self): self.server.shutdown(); self.server.server_close()

@pytest.fixture
def site(tmp_path, monkeypatch):
    "A site with the pair /w/mine, and a cache of its own"
    monkeypatch.setenv('COLORFAST_CACHE', str(tmp_path/'cache'))
    s = Site()
    s.fn = save_weights(dict(w=torch.arange(3.)), dict(what='body'), tmp_path/'mine')
    s.sha = file_sha256(s.fn)
    for o in ('safetensors','json'): s.files[f'/w/mine.{o}'] = s.fn.with_suffix(f'.{o}').read_bytes()
    yield s
    s.close()

def fetched(): return sorted(o for o in (cache_dir()/'fetched').rglob('*') if o.is_file()) if cache_dir().exists() else []

def refused(fn, *words):
    "One line with `words`, and nothing is left in the cache"
    with pytest.raises(UserError) as e: weights_file(fn, 'body')
    msg = str(e.value)
    assert '\n' not in msg and all(w in msg for w in words), msg
    assert not fetched() and not list((cache_dir()/'fetched').glob('*')), fetched()

@pytest.mark.parametrize('name', ['/w/mine', '/w/mine.safetensors', '/w/mine.json', '/w/mine.safetensors?download=true'])
def test_url_is_fetched_once(site, name, capsys):
    f = weights_file(site.url+name, 'body')
    assert load_weights(f, 'body')[0]['w'].tolist()==[0,1,2] and cache_dir() in f.parents
    assert len(site.asked)==2 and all(('?' in o)==('?' in name) for o in site.asked)
    assert capsys.readouterr().out.count('\n')==1
    site.close() # offline from here
    assert weights_file(site.url+name, 'body')==f and capsys.readouterr().out==''
    assert len(fetched())==2

def test_folder_url(site):
    for o in ('safetensors','json'): site.files[f'/run/body.{o}'] = site.files[f'/w/mine.{o}']
    assert weights_file(site.url+'/run/', ('body','colorizer')).name=='body.safetensors'

def test_checksum(site):
    good,bad = f'{site.url}/w/mine#sha256={site.sha.upper()}',f'{site.url}/w/mine#sha256={"0"*64}'
    refused(bad, 'sha256', site.sha, '0'*64)
    for o in ('#sha256=12', '#sha256=', '#md5=12', '#x'): refused(f'{site.url}/w/mine{o}', 'no checksum', '64 hexadecimal')
    assert weights_file(good, 'body').exists()

def test_what_comes_is_no_pair(site):
    url,card = f'{site.url}/w/mine',json.loads(site.files['/w/mine.json'])
    whole = dict(site.files)
    def now(**kw):
        site.files = whole | {f'/w/mine.{k}':v for k,v in kw.items()}
    page = b'<!DOCTYPE html><html>Sign in</html>'
    now(json=page); refused(url, 'mine.json', 'web page')
    now(safetensors=page); refused(url, 'mine.safetensors', 'web page')
    now(json=b'{"what":'); refused(url, 'mine.json', 'no card')
    now(json=b'[1]'); refused(url, 'no card')
    now(json=json.dumps({k:v for k,v in card.items() if k!='sha256'}).encode()); refused(url, 'names no checksum', '#sha256=')
    fn = weights_file(f'{url}#sha256={site.sha}', 'body') # said by whoever asks
    site.asked.clear()
    assert weights_file(f'{url}#sha256={site.sha}', 'body')==fn and not site.asked and load_weights(fn, 'body')
    shutil.rmtree(cache_dir())
    now(json=json.dumps(card|dict(sha256=7)).encode()); refused(url, 'names no checksum')
    now(json=json.dumps(card|dict(sha256='0'*64)).encode()); refused(url, 'sha256'); refused(f'{url}#sha256={site.sha}', 'other weights')
    now(safetensors=whole['/w/mine.safetensors'][:-1]); refused(url, 'sha256')
    now(json=b' '*(2**20+1)); refused(url, 'more than')

def test_lost_on_the_way(site):
    refused(site.url+'/w/other', '404')
    for o in ('json','safetensors'):
        site.cut = {f'/w/mine.{o}'}
        refused(site.url+'/w/mine', f'mine.{o}')
    site.close()
    refused(site.url+'/w/mine', 'offline')
    for o in ('http://127.0.0.1:99999/x', 'http://[::1/x', 'https://', 'http://127.0.0.1:1/a b'): refused(o)

def test_unprotected(site, monkeypatch):
    "By http both files could be exchanged on their way, so it needs a checksum; a redirect is no way around"
    refused('http://example.org/mine', 'use https', '#sha256')
    import colorfast.files as files
    was = files._parts # a machine that is not this one
    monkeypatch.setattr(files, '_parts', lambda u: was(u.replace('127.0.0.1', '127.0.0.2') if '/far' in u else u))
    site.moved['/w/mine.json'] = site.url+'/far/mine.json'; site.files['/far/mine.json'] = site.files['/w/mine.json']
    refused(site.url+'/w/mine', 'far', 'use https')
    assert weights_file(f'{site.url}/w/mine#sha256={site.sha}', 'body').exists()

def test_damaged_in_the_cache_is_fetched_again(site):
    f = weights_file(site.url+'/w/mine', 'body')
    for o in (f, f.with_suffix('.json')):
        o.write_bytes(b'{}')
        assert weights_file(site.url+'/w/mine', 'body')==f and load_weights(f, 'body')
        o.unlink(); assert load_weights(weights_file(site.url+'/w/mine', 'body'), 'body')
    assert len(list((cache_dir()/'fetched').iterdir()))==1

def test_a_slower_process_leaves_what_is_there(site, monkeypatch):
    "Another process puts the pair in place while this one still fetches"
    import colorfast.files as files
    was,first = files._fetch_pair,[]
    def slow(*args):
        was(*args)
        if not first: first.append(1); first.append(weights_file(site.url+'/w/mine', 'body')); first.append(first[1].stat().st_ino)
    monkeypatch.setattr(files, '_fetch_pair', slow)
    f = weights_file(site.url+'/w/mine', 'body')
    assert (f, f.stat().st_ino)==(first[1], first[2]) and len(fetched())==2

def test_cache_that_cannot_be_written(site, tmp_path, monkeypatch):
    (tmp_path/'file').touch(); monkeypatch.setenv('COLORFAST_CACHE', str(tmp_path/'file'))
    with pytest.raises(UserError, match='COLORFAST_CACHE'): weights_file(site.url+'/w/mine', 'body')

def test_several_processes_and_threads(site):
    "All get the same whole pair, and no part is left over"
    code = f"from colorfast.files import *; f = weights_file('{site.url}/w/mine', 'body'); print(load_weights(f, 'body')[0]['w'].sum().item(), f)"
    ps = [subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    got,errors = [],[]
    def one():
        try: got.append(weights_file(site.url+'/w/mine', 'body'))
        except Exception as e: errors.append(e)
    ts = [threading.Thread(target=one) for _ in range(8)]
    for t in ts: t.start()
    for t in ts: t.join()
    outs = [p.communicate()[0].splitlines()[-1] for p in ps]
    assert not errors and len({str(o) for o in got})==1 and outs==[f'3.0 {got[0]}']*2
    assert len(fetched())==2 and not list((cache_dir()/'fetched').glob('part-*'))

def test_paths(tmp_path):
    fn = save_weights(dict(w=torch.zeros(1)), dict(what='colorizer'), tmp_path/'a b #1'/'colorizer')
    sha = file_sha256(fn)
    for o in (fn, str(fn), fn.parent, str(fn.with_suffix('')), fn.with_suffix('.json'), fn.as_uri(), f'{fn}#sha256={sha}', f'{fn.as_uri()}#sha256={sha}'):
        assert weights_file(o, ('body','colorizer'))==fn, o
    for o in (f'{fn}#sha256={"1"*64}', f'{fn.as_uri()}#sha256={"1"*64}'):
        with pytest.raises(UserError, match=sha): weights_file(o)
    body = save_weights({}, dict(what='body'), fn.parent/'body')
    assert weights_file(fn.parent, ('body','colorizer'))==body and weights_file(fn.parent)==fn
    with pytest.raises(UserError, match='not found'): load_weights(weights_file((tmp_path/'none').as_uri()), 'body')

def test_a_name_is_the_package_a_path_is_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fn = save_weights({}, dict(what='colorizer'), 'photos/colorizer')
    assert weights_file('photos').name=='photos.safetensors'
    assert weights_file('./photos')==weights_file(Path('photos'))==fn

def test_half():
    w = dict(a=torch.randn(100), big=torch.tensor([7e4]), nan=torch.tensor([float('nan')]), n=torch.tensor(3))
    h = to_half(w)
    assert [h[k].dtype for k in w]==[torch.half,torch.float,torch.float,torch.int64] and (h['a'].float()/w['a']-1).abs().max()<2**-11

# ---------------------------------------------------------------- what the package ships

def test_shipped_pair():
    assert 'photos' in shipped_weights()
    fn = weights_file('photos')
    raw,card = fn.read_bytes(),load_json(fn.with_suffix('.json'))
    assert len(raw)<=5*2**20 and card['sha256']==hashlib.sha256(raw).hexdigest()
    from safetensors.torch import load
    assert {v.dtype for v in load(raw).values() if v.is_floating_point()}=={torch.half}
    assert card['half_moves_ab']['most']<1 # steps of a* and b*: nobody sees it
    for k in ('data','label_free','settings','command','hours','machine','versions','scored','scores','failures','licence'): assert card[k], k
    assert not [o for o in json.dumps(card).split('"') if o.startswith(('/home','/srv','/tmp','/work','/root'))]
    for row in ('grey','mean_color','image_mean'): assert card['scores'][row]['psnr']['avg']

def test_card_as_text():
    text,card = model_card('photos'),load_json(weights_file('photos').with_suffix('.json'))
    for o in (card['data'].split()[0], card['command'].split()[0], 'none was used', 'gray', 'own mean color', f"{card['scores']['ssim']['avg']:.2f}", card['sha256'], 'failures', 'licence'): assert o in text, o
    assert max(map(len, text.splitlines()))<=100

def test_shipped_colorizer_and_body():
    net,card,pretext = load_colorizer('photos', 'cpu')
    assert {p.dtype for p in net.parameters()}=={torch.float32} and card['size']>=64
    body,unet = load_body('photos'),load_unet('photos')
    x = torch.rand(2,3,64,64)
    from colorfast.color import rgb2l
    with torch.no_grad(): a,b = body()[:-1].eval()(x),net[0](rgb2l(x).as_subclass(torch.Tensor))
    assert torch.allclose(a, b, atol=1e-5) and unet.decoder and body.card['size']==card['size']
    im = Image.fromarray(np.tile(np.arange(0, 250, 2, dtype=np.uint8), (90,1)))
    out = colorize(im)
    assert out.size==im.size and np.array_equal(out, colorize(im, 'photos')) and np.array_equal(out, Colorizer.load('photos').colorize(im))

def test_from_a_zip_file(tmp_path):
    "A package that lies in a zip file has no files; its weights are copied to the cache"
    z = tmp_path/'package.zip'
    with zipfile.ZipFile(z, 'w') as f:
        for o in [ROOT/'colorfast'/'__init__.py', ROOT/'colorfast'/'files.py', *(ROOT/'colorfast'/'weights').iterdir()]: f.write(o, o.relative_to(ROOT).as_posix())
    code = ("import colorfast; from colorfast.files import *; assert '.zip' in colorfast.__file__; fs = [weights_file('photos') for _ in range(2)]; "
            "assert fs[0]==fs[1] and cache_dir() in fs[0].parents; print(len(load_weights(fs[0], 'colorizer')[0]))")
    env = dict(os.environ, PYTHONPATH=str(z), COLORFAST_CACHE=str(tmp_path/'cache'))
    r = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert r.returncode==0 and int(r.stdout)>50, r.stderr

# ---------------------------------------------------------------- the command

def command(*argv, **kw): return subprocess.run([sys.executable, '-m', 'colorfast.cli', 'colorize', *map(str, argv)], capture_output=True, text=True, **kw)

def test_colorize_with_nothing_but_a_picture(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (70,130), dtype=np.uint8)).save(tmp_path/'photo.jpg')
    env = dict(os.environ, PYTHONPATH=f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    r = command('photo.jpg', cwd=tmp_path, env=env)
    assert r.returncode==0, r.stderr
    assert Image.open(tmp_path/'colored'/'photo.jpg').size==(130,70) and 'fetch' not in r.stdout
    old = command(weights_file('photos'), 'photo.jpg', '--out', 'old', cwd=tmp_path, env=env) # the model first, as before
    assert old.returncode==0 and np.array_equal(Image.open(tmp_path/'old'/'photo.jpg'), Image.open(tmp_path/'colored'/'photo.jpg'))
    r = command('photo.jpg', '--model', 'photo', cwd=tmp_path, env=env)
    assert r.returncode==2 and len(r.stderr.strip().splitlines())==1 and 'photos' in r.stderr
