"A tiny run from pictures to two downstream learners, on whatever fastai is installed."
import os, tempfile, warnings
os.environ.setdefault('MPLBACKEND', 'Agg')
from importlib.metadata import version
from pathlib import Path
from fastai.vision.all import *
from colorfast.all import *

def quiet(learn):
    learn.remove_cb(ProgressCallback)
    with learn.no_logging(): learn.fit(1)
    return learn

if __name__ == '__main__':
    print('with', ', '.join(f'{o} {version(o)}' for o in ('colorfast', 'fastai', 'fastcore', 'torch', 'torchvision')))
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        path = make_scenes(tmp/'scenes', n_unlabeled=32, n_train=16, n_val=16, n_test=16, progress=False)
        learn = quiet(colorize_learner(ColorizeDataLoaders.from_folder(path/'images', size=64, bs=8), resnet18))
        assert len(learn.get_preds(with_loss=True)[2])==16 # the learner has a training step of its own
        assert learn.colorize(first(get_image_files(path/'images'/'test'))).mode == 'RGB'
        save_body(learn, tmp/'body')
        body = load_body(tmp/'body')
        quiet(vision_learner(MultilabelDataLoaders.from_coco(path, size=64, bs=8), body, metrics=APScoreMulti()))
        quiet(unet_learner(SegmentDataLoaders.from_voc(path, size=64, bs=8), body))
    print('The tiny run is done')
