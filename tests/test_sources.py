"What others wrote, damaged: an annotation or a picture is left out and named, or there is one line; never a traceback."
import copy, inspect, json, os, random, warnings
from pathlib import Path
import numpy as np, pytest
from PIL import Image
from fastcore.docments import docments
from colorfast.images import *
from colorfast.sources import *
from colorfast.data import *
from colorfast.files import UserError

RNG = np.random.RandomState(0)

@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch): monkeypatch.setenv('COLORFAST_CACHE', str(tmp_path/'cache'))

def pics(d, names, w=20, h=10, **kwargs):
    d.mkdir(parents=True, exist_ok=True)
    for n in names: Image.fromarray(RNG.randint(0, 255, (h,w,3)).astype(np.uint8)).save(d/n, **kwargs)

def box(x, y, w, h): return [[x,y, x+w,y, x+w,y+h, x,y+h]]

def coco(n=4):
    "Content of a JSON file: a cat in every picture, a dog in every second"
    anns = [dict(image_id=10+i, category_id=3, segmentation=box(0,0,5,5), bbox=[0,0,5,5], area=25, iscrowd=0) for i in range(n)]
    anns += [dict(image_id=10+i, category_id=8, segmentation=dict(counts=[100,100], size=[10,20]), bbox=[10,0,10,10], area=100, iscrowd=0) for i in range(0,n,2)]
    return dict(images=[dict(id=10+i, file_name=f'{i}.jpg', width=20, height=10) for i in range(n)],
                annotations=[dict(id=i, **a) for i,a in enumerate(anns)], categories=[dict(id=3,name='cat'),dict(id=8,name='dog')])

def write(root, d, n=4, encoding='utf-8', split='train'):
    if not (root/split).exists(): pics(root/split, [f'{i}.jpg' for i in range(n)])
    (root/'annotations').mkdir(parents=True, exist_ok=True)
    fn = root/f'annotations/instances_{split}.json'
    fn.write_bytes((d if isinstance(d, str) else json.dumps(d)).encode(encoding))
    return fn

def said(f, *args, **kwargs):
    "What `f` gives, and the lines it warned with"
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        res = f(*args, **kwargs)
    return res,[str(o.message) for o in w if issubclass(o.category, UserWarning)]

def labels(dls): return {Path(o).name: [dls.vocab[i] for i,v in enumerate(y) if v] for o,y in ((dls.train_ds.items[i], dls.train_ds[i][1]) for i in range(len(dls.train_ds)))}
def multi(root, **kw): return said(MultilabelDataLoaders.from_coco, root, **dict(dict(size=16, bs=2, valid_pct=.01), **kw))
def seg(root, **kw): return said(SegmentDataLoaders.from_coco, root, **dict(dict(size=(10,20), bs=2, valid_pct=.01), **kw))
def names(dls): return sorted(Path(o).name for dl in dls.loaders for o in dl.dataset.items)
def mask(dls, fn): return np.asarray(dls.test_dl([fn], with_labels=True).one_batch()[1][0].cpu())

# ---- COCO ----

SIZES = dict(huge=(200000,150000), swapped=(10,20), other=(21,10), text=('20','10'), lists=([20],[10]), negative=(-20,-10), infinite=(float('inf'),10), nan=(float('nan'),10))
@pytest.mark.parametrize('size', SIZES)
def test_a_size_that_is_not_the_pictures(tmp_path, size):
    d = coco()
    d['images'][1]['width'],d['images'][1]['height'] = SIZES[size]
    write(tmp_path, d)
    dls,w = seg(tmp_path)
    assert any('1 of 4 masks left out: 1.jpg' in o and 'a picture of 20x10' in o for o in w), w
    assert names(dls)==['0.jpg','2.jpg','3.jpg']
    assert len(names(multi(tmp_path)[0]))==4 # labels need no size

def test_no_size_at_all(tmp_path):
    d = coco()
    for o in d['images'][:2]: o.pop('width')
    d['images'][2]['height'] = None
    write(tmp_path, d)
    dls,w = seg(tmp_path)
    assert not w and (mask(dls, tmp_path/'train/1.jpg')[:5,:5]==1).all()

def test_sizes_of_the_turned_picture(tmp_path):
    "Some programs write the size, and the outlines, of the picture as it is seen"
    write(tmp_path, d := coco())
    exif = Image.Exif()
    exif[0x0112] = 6
    pics(tmp_path/'train', ['1.jpg'], exif=exif)
    d['images'][1].update(width=10, height=20)
    write(tmp_path, d)
    dls,w = seg(tmp_path, size=(20,10))
    m = mask(dls, tmp_path/'train/1.jpg')
    assert not w and (m[:5,:5]==1).all() and (m==1).sum()==25

def test_numbers_as_text_and_as_numbers(tmp_path):
    for k in ('images','annotations','both'):
        d = coco()
        for o in d['images']: o['id'] = str(o['id']) if k!='annotations' else o['id']
        for o in d['annotations']: o['image_id'] = str(o['image_id']) if k!='images' else float(o['image_id'])
        d['categories'][0]['id'] = '3'
        write(tmp_path, d)
        dls,w = multi(tmp_path)
        assert not w and dls.vocab==['cat','dog']
        assert labels(dls)=={f'{i}.jpg':['cat','dog'] if i%2==0 else ['cat'] for i in range(4) if f'{i}.jpg' in labels(dls)}

def test_a_category_called_background(tmp_path):
    d = coco()
    d['categories'][0]['name'] = 'background'
    write(tmp_path, d)
    dls,_ = seg(tmp_path)
    assert list(dls.vocab)==['background','background (category)','dog'] and dls.c==3
    m = mask(dls, tmp_path/'train/0.jpg')
    assert (m[:5,:5]==1).all() and (m[:,10:]==2).all() and (m[5:,:5]==0).all()
    assert list(multi(tmp_path)[0].vocab)==['background','dog']

def test_a_file_under_two_numbers(tmp_path, capsys):
    d = coco()
    d['images'].append(dict(id=99, file_name='./1.jpg', width=20, height=10))
    d['annotations'].append(dict(id=77, image_id=99, category_id=8, segmentation=box(10,0,5,5), bbox=[10,0,5,5], iscrowd=0))
    write(tmp_path, d)
    dls,w = multi(tmp_path, valid_pct=.3)
    assert '1 pictures are listed more than once, their annotations are joined: 1.jpg' in capsys.readouterr().out
    src = read_source(tmp_path, 'labels')
    assert src.labels[str(tmp_path/'train/1.jpg')]==['cat','dog'] and len(src.labels)==4
    m = mask(seg(tmp_path)[0], tmp_path/'train/1.jpg')
    assert (m[:5,:5]==1).all() and (m[:5,10:15]==2).all()

def test_two_files_under_one_number(tmp_path):
    d = coco(6)
    d['images'][3]['id'] = d['images'][2]['id']
    write(tmp_path, d, 6)
    dls,w = multi(tmp_path)
    assert '2 pictures left out' in w[0] and '2.jpg (another picture has number 12, too)' in w[0]
    assert names(dls)==['0.jpg','1.jpg','4.jpg','5.jpg']

def test_file_names_that_lead_out(tmp_path):
    pics(tmp_path/'elsewhere', ['x.jpg'])
    root = tmp_path/'data'
    d = coco(5)
    for i,n in ((0,'../../elsewhere/x.jpg'),(1,str(tmp_path/'elsewhere/x.jpg'))): d['images'][i]['file_name'] = n
    write(root, d, 5)
    for f in (multi,seg):
        dls,w = f(root)
        assert '2 pictures left out' in w[0] and 'x.jpg (leads out of the folder)' in w[0]
        assert not any('elsewhere' in str(o) for dl in dls.loaders for o in dl.dataset.items)
    d['images'][0]['file_name'] = str(root/'train/0.jpg') # where it lies inside it is followed
    d['images'][1]['file_name'] = '../train/1.jpg'
    write(root, d)
    assert len(names(multi(root)[0]))==5
    with pytest.raises(DataError): # all of them
        write(root, dict(d, images=[dict(o, file_name=f"../../elsewhere/{o['id']}.jpg") for o in d['images']]))
        multi(root)

@pytest.mark.parametrize('encoding', ['utf-8-sig','utf-16','utf-16-le','utf-32'])
def test_json_in_any_unicode(tmp_path, encoding):
    write(tmp_path, coco(), encoding=encoding)
    assert len(names(multi(tmp_path)[0]))==4

def test_json_that_is_nested_too_deeply_or_no_file(tmp_path):
    fn = write(tmp_path, '['*100000)
    with pytest.raises(DataError, match='instances_train.json: nested too deeply'): multi(tmp_path)
    fn.write_text('{"images": [' + '1'*5000 + ']}')
    with pytest.raises(DataError, match='instances_train.json: cannot be read'): multi(tmp_path)
    fn.unlink()
    fn.mkdir()
    with pytest.raises(DataError, match='looked for annotations'): multi(tmp_path)

def test_boxes_of_coco_and_voc(tmp_path):
    d = coco()
    for i,b in enumerate(([0,0,0,5], 'box', [0,0,float('inf'),5])): d['annotations'][i]['bbox'] = b
    d['annotations'][3]['iscrowd'] = 1
    write(tmp_path, d)
    src,w = said(read_source, tmp_path, 'boxes')
    assert '3 pictures have annotations without a usable box' in w[0]
    assert [src.boxes[str(tmp_path/f'train/{i}.jpg')] for i in range(4)]==[[Box(10,0,20,10,'dog')], [], [Box(10,0,20,10,'dog')], [Box(0,0,5,5,'cat',crowd=True)]]
    voc(tmp_path/'voc')
    src = read_source(tmp_path/'voc', 'boxes')
    assert src.boxes[str(tmp_path/'voc/JPEGImages/1.jpg')]==[Box(0,1,10,8,'dog',difficult=True)]

# ---- VOC ----

XML = '<annotation><object><name>{}</name><difficult>{}</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>8</ymax></bndbox></object></annotation>'
def voc(root, n=4):
    pics(root/'JPEGImages', [f'{i}.jpg' for i in range(n)])
    for d in ('Annotations','SegmentationClass','ImageSets/Main','ImageSets/Segmentation'): (root/d).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        (root/f'Annotations/{i}.xml').write_text(XML.format(('cat','dog')[i%2], i%2))
        Image.fromarray(RNG.randint(0, 3, (10,20)).astype(np.uint8)).save(root/f'SegmentationClass/{i}.png')
    for d in ('Main','Segmentation'): (root/f'ImageSets/{d}/train.txt').write_text('\n'.join(map(str, range(n))))
    return root

def test_xml_in_an_unknown_encoding_or_a_folder(tmp_path):
    voc(tmp_path, 5)
    (tmp_path/'Annotations/1.xml').write_text('<?xml version="1.0" encoding="klingon"?>'+XML.format('dog',0))
    (tmp_path/'Annotations/2.xml').unlink()
    (tmp_path/'Annotations/2.xml').mkdir()
    dls,w = said(MultilabelDataLoaders.from_voc, tmp_path, size=16, bs=2, valid_pct=.01)
    assert '2 pictures left out' in w[0] and '1.xml: ' in w[0] and '2.xml: no XML that can be read' in w[0]
    assert len(names(said(SegmentDataLoaders.from_voc, tmp_path, size=16, bs=2)[0]))==5

@pytest.mark.parametrize('encoding', ['utf-8-sig','utf-16','utf-16-be'])
def test_split_files_in_any_unicode(tmp_path, encoding):
    voc(tmp_path)
    for d in ('Main','Segmentation'): (tmp_path/f'ImageSets/{d}/train.txt').write_bytes('0\r\n1\r\n2\r\n'.encode(encoding))
    (tmp_path/'labelmap.txt').write_bytes('background:0,0,0::\ncat:1::\ndog:2::\n'.encode(encoding))
    for c in (ColorizeDataLoaders,MultilabelDataLoaders,SegmentDataLoaders):
        dls,w = said(c.from_voc, tmp_path, size=16, bs=2)
        assert not w and names(dls)==['0.jpg','1.jpg','2.jpg']
    assert list(dls.vocab)==['background','cat','dog']

def test_split_files_that_lead_out(tmp_path):
    pics(tmp_path, ['secret.jpg'])
    voc(tmp_path/'data')
    (tmp_path/'data/ImageSets/Main/train.txt').write_text(f"0\n1\n2\n../../secret\n{tmp_path/'secret'}\n")
    dls,w = said(ColorizeDataLoaders.from_voc, tmp_path/'data', size=16, bs=2)
    assert '2 names left out, they lead out of JPEGImages' in w[0] and names(dls)==['0.jpg','1.jpg','2.jpg']

def test_tables_of_fastai(tmp_path):
    pics(tmp_path/'train', [f'{i}.jpg' for i in range(4)])
    pics(tmp_path.parent, ['out.jpg'])
    text = 'fname,labels\n0.jpg,cat\n1.jpg,dog\n2.jpg,cat\n3.jpg,dog\n../../out.jpg,cat\n3.jpg,cat\n'
    (tmp_path/'train.csv').write_bytes(text.encode('utf-16'))
    dls,w = said(MultilabelDataLoaders.from_voc, tmp_path, size=16, bs=2)
    assert 'rows left out, their names lead out' in w[0] and names(dls)==[f'{i}.jpg' for i in range(4)]
    assert read_source(tmp_path, 'labels').labels[str(tmp_path/'train/3.jpg')]==['dog','cat']
    for bad in (b'', b'\xff\xfe\x00', b'fname\n"'):
        (tmp_path/'train.csv').write_bytes(bad)
        with pytest.raises(DataError): said(MultilabelDataLoaders.from_voc, tmp_path, size=16, bs=2)

# ---- folders ----

def test_what_a_run_wrote_is_no_data(tmp_path, capsys):
    pics(tmp_path, [f'{i}.jpg' for i in range(4)])
    pics(tmp_path/'runs/one', ['colorings.png','progress.png'])
    for n in ('results.json','report.html'): (tmp_path/'runs/one'/n).touch()
    pics(tmp_path/'out/figures', ['a.png'])
    for n in ('results.json','log.csv'): (tmp_path/'out'/n).touch()
    pics(tmp_path/'kept', ['4.png'])
    (tmp_path/'kept/results.json').touch() # alone it says nothing
    dls = ColorizeDataLoaders.from_folder(tmp_path, size=16, bs=2)
    assert names(dls)==['0.jpg','1.jpg','2.jpg','3.jpg','4.png']
    assert '2 folders left out, a run wrote them: out, runs/one' in capsys.readouterr().out
    assert len(find_pictures(tmp_path/'runs/one'))==2 # named, it is what was asked for

def test_links_that_lead_in_a_circle(tmp_path):
    d = tmp_path/'data'
    pics(d, [f'{i}.jpg' for i in range(4)])
    (d/'up').symlink_to(d)
    (d/'sub').mkdir()
    (d/'sub/higher').symlink_to(tmp_path)
    (d/'again.jpg').symlink_to(d/'0.jpg')
    dls = ColorizeDataLoaders.from_folder(d, size=16, bs=2, valid_pct=.3)
    assert names(dls)==['0.jpg','1.jpg','2.jpg','3.jpg'] and find_kind(d)=='folder'

def test_links_that_lead_elsewhere_are_followed_once(tmp_path):
    pics(tmp_path/'disk', [f'{i}.jpg' for i in range(4)])
    for n in ('b','a'): (tmp_path/'data').mkdir(exist_ok=True); (tmp_path/'data'/n).symlink_to(tmp_path/'disk')
    assert [str(o.relative_to(tmp_path)) for o in find_pictures(tmp_path/'data')]==[f'data/a/{i}.jpg' for i in range(4)]

def test_a_split_that_is_another_by_a_link(tmp_path, capsys):
    pics(tmp_path/'train', [f'{i}.jpg' for i in range(6)])
    pics(tmp_path/'val', ['v.jpg'])
    for i in (0,1): (tmp_path/f'val/again{i}.jpg').symlink_to(tmp_path/f'train/{i}.jpg')
    dls = ColorizeDataLoaders.from_folder(tmp_path, size=16, bs=2)
    real = [{real_file(o) for o in dl.dataset.items} for dl in dls.loaders]
    assert [len(o) for o in real]==[4,3] and not real[0]&real[1] and 'they are in a later split too' in capsys.readouterr().out

def test_masks_are_no_photographs(tmp_path):
    pics(tmp_path/'images', [f'{i}.jpg' for i in range(4)])
    pics(tmp_path/'labels', [f'{i}_P.png' for i in range(4)])
    (tmp_path/'codes.txt').write_text('sky\nroad\n')
    assert [o.suffix for dl in color_dls(tmp_path, size=16, bs=2).loaders for o in dl.dataset.items]==['.jpg']*4

def test_an_empty_path(tmp_path, monkeypatch):
    pics(tmp_path, [f'{i}.jpg' for i in range(4)])
    monkeypatch.chdir(tmp_path)
    for f in (ColorizeDataLoaders.from_folder, ColorizeDataLoaders.from_coco, MultilabelDataLoaders.from_voc, find_kind, read_source, color_dls):
        for bad in ('', None):
            with pytest.raises(DataError, match='is no folder'): f(bad)
    assert len(names(ColorizeDataLoaders.from_folder('.', size=16, bs=2)))==4

# ---- options ----

@pytest.mark.parametrize('kw', [dict(size=0), dict(size='64'), dict(size=10**6), dict(size=(8,8,8)), dict(bs=1.5), dict(bs=-1), dict(limit='all'), dict(limit={'train':0}),
                                dict(num_workers=-1), dict(seed=-1), dict(max_zoom=0), dict(max_zoom='2'), dict(drop_gray=-1), dict(valid_pct='half'), dict(method='stretch')], ids=str)
def test_options_that_make_no_sense(tmp_path, kw):
    pics(tmp_path, [f'{i}.jpg' for i in range(4)])
    with pytest.raises(UserError if next(iter(kw)) not in ('size','method') else ValueError) as e: ColorizeDataLoaders.from_folder(tmp_path, **{'size':16, 'bs':2, **kw})
    assert '\n' not in str(e.value)

def test_signatures_show_the_options():
    for f in (ColorizeDataLoaders.from_folder, MultilabelDataLoaders.from_voc, SegmentDataLoaders.from_coco, PictureDataLoaders.from_source):
        d,sig = docments(f),inspect.signature(f).parameters
        assert all(d[k] and k in sig for k in ('size','bs','max_zoom','valid_pct','limit','drop_gray'))
    assert inspect.signature(ColorizeDataLoaders.from_coco).parameters['valid_pct'].default==.1 and sig['valid_pct'].default==.2

# ---- mutations ----

VALUES = (None, True, [], {}, [1,2,3], 'text', '', '3', -1, 0, 1.5, 10**9, 10**30, 1e308, float('nan'), float('inf'), [[[[]]]], {'a':{'b':[]}}, [[0,0,1e9,1e9,3,3]],
          '../../x.jpg', '/etc/passwd', 'a\0b', '\ud800', 'x'*5000, 'background')

def places(o, path=()):
    "Every place in nested dicts and lists"
    for k in (o if isinstance(o, dict) else range(len(o)) if isinstance(o, list) else ()):
        yield (*path,k)
        yield from places(o[k], (*path,k))

def mutated(d, rnd):
    d = copy.deepcopy(d)
    for _ in range(rnd.choice((1,1,1,3))):
        *way,last = rnd.choice(list(places(d)))
        o = d
        for k in way: o = o[k]
        if isinstance(o, dict) and rnd.random()<.15: del o[last]
        else: o[last] = copy.deepcopy(rnd.choice(VALUES))
    return d

def survives(f, what):
    "Loaders, or one line"
    try: dls = f()
    except UserError as e: assert '\n' not in str(e) and len(str(e))<3000, what
    except Exception as e: pytest.fail(f'{type(e).__name__}: {e} for {what:.2000}')
    else: return dls

def test_mutated_json(tmp_path):
    rnd,used = random.Random(0),0
    write(tmp_path, base := coco())
    for i in range(400):
        d = mutated(base, rnd)
        write(tmp_path, text := json.dumps(d))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            for want in ('labels','boxes','masks'):
                src = survives(lambda: read_source(tmp_path, want), text)
                if src is None: continue
                files = {o for s in src.splits.values() for o in s}
                assert all(os.path.dirname(o)==str(tmp_path/'train') for o in files), text
                if want=='masks':
                    for f in files: survives(lambda: src.masks(f), text)
                    assert len(src.mask_vocab)==len(set(src.mask_vocab))==1+len(src.vocab)
            if i%40==0: used += survives(lambda: SegmentDataLoaders.from_coco(tmp_path, size=16, bs=2), text) is not None
    assert used>3

def test_mutated_xml_and_lists(tmp_path):
    rnd = random.Random(1)
    root = voc(tmp_path/'voc')
    lists,xml = [root/f'ImageSets/{o}/train.txt' for o in ('Main','Segmentation')],[root/f'Annotations/{i}.xml' for i in range(4)]
    was = {f:f.read_bytes() for f in lists+xml}
    for i in range(300):
        f = rnd.choice(xml+lists)
        b,v = was[f],str(rnd.choice(VALUES)).encode(errors='surrogatepass')
        how = rnd.randrange(4)
        if how==0: # the text of one element
            tags = [m for m in (b'name',b'difficult',b'xmin',b'ymax',b'bndbox',b'object') if b'<'+m+b'>' in b] or [b'']
            t = rnd.choice(tags)
            b = b[:b.find(b'<'+t+b'>')+len(t)+2]+v+b[b.find(b'</'+t+b'>'):] if t else v
        elif how==1: b = b[:rnd.randrange(len(b))]
        elif how==2: k = rnd.randrange(len(b)); b = b[:k]+v+b[k:]
        else: b = rnd.choice([b.decode().encode('utf-16'), b'\xff\xfe'+b, b'<?xml version="1.0" encoding="x-no"?>'+b, b'<a>'*5000, b'\0'*20, bytes(rnd.randrange(256) for _ in range(40))])
        f.write_bytes(b)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            for want in ('pictures','labels','boxes','masks'):
                src = survives(lambda: read_source(root, want), str(b))
                if src: assert all(Path(o).resolve().is_relative_to(root.resolve()) for s in src.splits.values() for o in s), b
        f.write_bytes(was[f])

def test_missing_labels_name_the_folder(tmp_path):
    (tmp_path/'mine').mkdir()
    for i in range(3): Image.new('RGB', (40,40), (90*i,40,200)).save(tmp_path/'mine'/f'{i}.png')
    with pytest.raises(DataError, match='mine is a folder of pictures without labels'): source_dls(MultilabelDataLoaders, tmp_path/'mine', size=32)
