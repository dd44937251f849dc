"Pictures of any kind, whole and damaged: a picture comes out, or one line that names the file."
import io, os, random, warnings
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image, features
from colorfast.files import UserError
from colorfast.images import *
from colorfast import images

Image.init()

def drawn(w=24, h=18):
    y,x = np.mgrid[:h,:w]
    return Image.fromarray(np.stack([x*255//w, y*255//h, (x*y)%256], -1).astype(np.uint8))

def in_bytes(im, fmt, **kwargs):
    f = io.BytesIO()
    im.save(f, fmt, **kwargs)
    return f.getvalue()

# ---- damage ----

TURNED = Image.Exif()
TURNED[0x0112] = 6
FORMATS = dict(JPEG=[{}, dict(progressive=True, exif=TURNED)], PNG=[{}, dict(exif=TURNED, dpi=(72,72))], GIF=[{}], BMP=[{}],
    TIFF=[{}, dict(compression='tiff_lzw'), dict(compression='tiff_adobe_deflate')], WEBP=[{}, dict(lossless=True)], AVIF=[{}], PPM=[{}],
    TGA=[{}, dict(compression='tga_rle')], ICO=[{}], PCX=[{}], DDS=[{}, dict(pixel_format='DXT1')], JPEG2000=[{}], SGI=[{}], QOI=[{}], IM=[{}])
HAS = dict(AVIF='avif', WEBP='webp', JPEG2000='jpg_2000', JPEG='jpg', TIFF='libtiff', PNG='zlib')

def mutated(data, rng):
    "The file with some bytes changed, most often in its head; or cut off, or with a piece missing, doubled or swapped"
    b,k = bytearray(data),rng.randrange(8)
    if k==0: return bytes(b[:rng.randrange(1, len(b))])
    if k==1:
        i = rng.randrange(len(b))
        return bytes(b[:i]+b[min(len(b), i+rng.randrange(1,40)):])
    if k==2:
        i = rng.randrange(len(b))
        return bytes(b[:i]+b[i:i+rng.randrange(1,40)]+b[i:])
    for _ in range(rng.choice((1,1,2,5,20))):
        i = rng.randrange(min(len(b), 200)) if k<6 else rng.randrange(len(b))
        b[i] = rng.choice((0, 255, 1, 127, 128, rng.randrange(256), b[i]^(1<<rng.randrange(8))))
    return bytes(b)

def outcome(f):
    "'picture', 'refused', or what escaped"
    try: f()
    except DataError as e: return 'refused' if '\n' not in str(e) and str(e).strip() else f'not one line: {e!r}'
    except Exception as e: return f'{type(e).__name__}: {e}'
    return 'picture'

@pytest.mark.parametrize('fmt', FORMATS)
def test_damaged_files_cost_themselves_alone(fmt, monkeypatch):
    if fmt not in Image.SAVE or (fmt in HAS and not features.check(HAS[fmt])): pytest.skip(f'Pillow cannot write {fmt} here')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10**6) # a mutated height must not cost a second
    rng,seen = random.Random(fmt),{}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for kwargs in FORMATS[fmt]:
            data = in_bytes(drawn(64,64) if fmt=='ICO' else drawn(), fmt, **kwargs)
            assert open_photo(data).size in ((24,18),(18,24),(64,64))
            for i in range(60):
                bad = mutated(data, rng)
                for f in (open_photo, photo_parts, lambda o: open_photo(Image.open(io.BytesIO(o)))) if i<10 else (open_photo,photo_parts):
                    res = outcome(lambda: f(bad))
                    if f not in (open_photo,photo_parts) and 'Error' in res: continue # what Image.open raises by itself is not ours
                    seen.setdefault(res, bad)
    assert seen.keys()<={'picture','refused'}, {k:len(v) for k,v in seen.items() if k not in ('picture','refused')}

RAISED = (RuntimeError,NotImplementedError,AssertionError,KeyError,IndexError,AttributeError,TypeError,ZeroDivisionError,OverflowError,MemoryError,RecursionError)
@pytest.mark.parametrize('at', ['open','load'])
@pytest.mark.parametrize('error', RAISED)
def test_whatever_a_decoder_raises_is_named(tmp_path, monkeypatch, error, at):
    "AVIF raised RuntimeError, DDS NotImplementedError; the next decoder will find something else"
    drawn().save(tmp_path/'bad.png')
    drawn().save(tmp_path/'good.jpg')
    from PIL import PngImagePlugin
    def fail(*args, **kwargs): raise error('first line\nsecond line')
    monkeypatch.setattr(PngImagePlugin.PngImageFile, '_open' if at=='open' else 'load_prepare', fail)
    for f in (open_photo, photo_parts):
        with pytest.raises(DataError, match=r"^bad.png: (damaged \('?first line|not a picture)") as e: f(tmp_path/'bad.png')
        assert '\n' not in str(e.value)
    read = lambda fn: torch.from_numpy(np.asarray(CenterResize(8)(open_photo(fn)))).permute(2,0,1)
    bank = Bank([tmp_path/'bad.png',tmp_path/'good.jpg'], read, (3,8,8), 'test', cache=False)
    assert list(bank.bad)==[0] and bank.bad[0].startswith('bad.png: ')

@pytest.mark.skipif(not features.check('avif'), reason='Pillow has no AVIF here')
def test_damaged_avif_in_a_folder(tmp_path):
    from colorfast.data import ColorizeDataLoaders
    for i in range(6): drawn(40,30).save(tmp_path/f'{i}.jpg')
    data = in_bytes(drawn(40,30), 'AVIF')
    (tmp_path/'cut.avif').write_bytes(data[:-len(data)//3])
    (tmp_path/'other.avif').write_bytes(data[:-60]+bytes(60))
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        dls = ColorizeDataLoaders.from_folder(tmp_path, size=16, bs=2, drop_gray=0)
    assert {Path(o).name for o in dls.left_out}>={'cut.avif'} and any('cut.avif: ' in str(o.message) for o in w)

# ---- pictures that others opened ----

@pytest.mark.parametrize('fmt', ['PNG','JPEG','GIF'])
@pytest.mark.parametrize('decoded', [False,True])
def test_an_opened_picture_is_taken_and_left_as_it_was(tmp_path, fmt, decoded):
    f = tmp_path/f'x.{fmt.lower()}'
    drawn().save(f)
    im = Image.open(f)
    if decoded: im.load()
    was = type(im),im.mode,im.size
    got = open_photo(im)
    assert np.array_equal(np.asarray(got), np.asarray(open_photo(f)))
    assert (type(im),im.mode,im.size)==was and np.array_equal(np.asarray(im.convert('RGB')), np.asarray(got))

def test_a_damaged_picture_that_others_opened_is_named(tmp_path):
    f = tmp_path/'cut.jpg'
    f.write_bytes(in_bytes(drawn(99,99), 'JPEG')[:-400])
    for g in (open_photo,photo_parts):
        with pytest.raises(DataError, match='^cut.jpg: damaged'): g(Image.open(f))
    with pytest.raises(DataError, match='^picture: damaged'): open_photo(Image.open(io.BytesIO(f.read_bytes())))
    closed = Image.open(f)
    closed.close()
    with pytest.raises(DataError, match='damaged'): open_photo(closed)

# ---- numbers ----

def values(a): return np.asarray(open_photo(a))[...,0].ravel().tolist()

def test_floats_beyond_one(tmp_path):
    ramp = np.linspace(0, 1, 12, dtype=np.float32).reshape(3,4)
    want = (ramp.astype(np.float64)*255).round().astype(int).ravel().tolist()
    for top in (1, 1.0001, 1.02, 1.9, 5, 80, 30000):
        a = ramp.copy()
        a[-1,-1] = top
        f = tmp_path/f'{top}.tif'
        Image.fromarray(a).save(f)
        for x in (f, a, torch.from_numpy(a)): assert values(x)==want, top

def test_floats_of_other_scales():
    gray = np.asarray(drawn().convert('L'))
    for k in (1, 257):
        a = gray.astype(np.float32)*k
        assert np.abs(np.array(values(a))-gray.ravel()).max()==0 # whole numbers
        assert np.abs(np.array(values(a+np.float32(.25)))-gray.ravel()).max()<=(1 if k==1 else 40) # no whole numbers: the brightest hundredth is white
    assert values(np.full((2,2), 1.02))==[255]*4 and values(np.full((2,2), 4000.))!=[0]*4
    nits = np.random.RandomState(0).lognormal(3, 2, (40,40)).astype(np.float32) # up to thousands
    assert 40<np.mean(values(nits))<230

def test_what_is_no_number_is_black_and_infinity_white():
    for dtype in (np.float16,np.float32,np.float64):
        assert values(np.array([[np.nan,np.inf,-np.inf,.2]], dtype))==[0,255,0,51]
    assert values(np.full((2,2), np.nan))==[0]*4 and values(np.full((2,2), np.inf))==[255]*4
    assert values(np.array([[np.nan,255.,100.,np.inf]]))==[0,255,100,255]

def test_booleans_and_whole_numbers(tmp_path):
    assert values(np.array([[True,False]]))==[255,0] and values(torch.tensor([[True,False]]))==[255,0]
    for dtype in ('u2','>u2','<u2'): assert values(np.array([[0,257,32896,65535]], dtype))==[0,1,128,255]
    rgb = np.zeros((1,2,3), np.uint16)
    rgb[0,1] = 65535,32896,257
    assert np.asarray(open_photo(rgb))[0,1].tolist()==[255,128,1]
    for dtype in (np.int16,np.int32,np.int64,np.uint32): assert values(np.array([[0,7,255]], dtype))==[0,7,255]
    assert values(np.array([[-3,0,65535]]))==[0,0,255] and values(np.array([[0,2**40]]))==[0,255]
    assert values(np.array([[0,7,255]], np.uint8))==[0,7,255]
    Image.fromarray(np.array([[0,257,65535]], np.uint16)).save(tmp_path/'x.png')
    assert values(tmp_path/'x.png')==[0,1,255]

def test_arrays_that_are_no_pictures():
    for a in (np.zeros((2,2), complex), np.array([['a','b']]), np.array([[None,1]]), np.zeros(3), np.zeros((0,3)), np.zeros((2,2,5)), np.zeros((1,1,1,3)), np.array(3)):
        for f in (open_photo,photo_parts):
            with pytest.raises(DataError, match='^picture of '): f(a)

# ---- stamps and banks ----

def test_a_change_at_the_same_time_and_size_is_seen(tmp_path):
    import time
    fs = [tmp_path/f'{i}.bmp' for i in range(3)]
    for f in fs: drawn().save(f)
    for f in fs: os.utime(f, (1e9,1e9))
    read = lambda fn: torch.from_numpy(np.array(CenterResize(8)(open_photo(fn)))).permute(2,0,1)
    first = Bank(fs, read, (3,8,8), 'test stamps')
    time.sleep(.05)
    size = fs[1].stat().st_size
    Image.new('RGB', drawn().size, 'red').save(fs[1]) # in place
    os.utime(fs[1], (1e9,1e9))
    assert fs[1].stat().st_size==size
    second = Bank(fs, read, (3,8,8), 'test stamps')
    assert second.array[1].tolist()==read(fs[1]).tolist()!=first.array[1].tolist()
    time.sleep(.05)
    other = tmp_path/'other.bmp' # another file in its place
    Image.new('RGB', drawn().size, 'blue').save(other)
    os.utime(other, (1e9,1e9))
    os.replace(other, fs[1])
    third = Bank(fs, read, (3,8,8), 'test stamps')
    assert third.array[1].tolist()==read(fs[1]).tolist()!=second.array[1].tolist()
    again = Bank(fs, lambda fn: 1/0, (3,8,8), 'test stamps') # nothing changed: nothing is decoded
    assert torch.equal(again.array, third.array)

def test_sizes_that_cannot_fit(monkeypatch):
    with pytest.raises(UserError, match='100000x100000 px needs at least 251 GB, more than a quarter of the 8 GB of memory: choose a size of at most 8918 px'):
        monkeypatch.setattr(images, '_memory', lambda: 8*2**30)
        check_size(100_000)
    check_size(8918)
    check_size(512, n=300)
    with pytest.raises(UserError, match='8 pictures of 8000x8000 px need'): check_size(8000, n=8)
    for f in (lambda: CenterResize(100_000), lambda: Bank(['x.jpg'], None, (3,100_000,100_000), ''), lambda: Bank(['x.jpg'], None, (100_000,100_000), '')):
        with pytest.raises(UserError, match='choose a size of at most 8918 px'): f()
    monkeypatch.undo()
    monkeypatch.delattr(os, 'sysconf')
    assert images._memory()==8*2**30

def test_large_pictures_are_decoded_a_few_at_a_time(tmp_path):
    drawn().save(tmp_path/'x.png')
    calls = [len(a) for a,_ in images._decode(lambda o: np.zeros((3,4096,4096), np.uint8), ['x']*6, (3,4096,4096))]
    assert calls==[5,1]
    assert [len(a) for a,_ in images._decode(lambda o: np.zeros((3,64,64), np.uint8), ['x']*300, (3,64,64))]==[256,44]
