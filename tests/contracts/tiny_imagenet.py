"""Tiny ImageNet's layout with three classes, given out of order, two pictures of each and two to validate."""

import numpy as np

from tests.contracts.data_files import encoded, save

WNIDS = ("n02124075", "n02012849", "n03126707")
WORDS = "n00001740\tentity\nn02012849\tcrane\nn02124075\tEgyptian cat, Felis catus\nn03126707\tcrane, hoist\n"
VAL = "val_0.JPEG\tn03126707\t0\t32\t44\t62\nval_1.JPEG\tn02124075\t52\t55\t57\t59\n"
ROWS = "{0}_0.JPEG\t0\t10\t63\t58\n{0}_1.JPEG\t1\t2\t3\t4\n"


def write_tiny_imagenet(root):
    pixels = encoded(np.full((64, 64, 3), (90, 120, 30), dtype=np.uint8), "JPEG")
    save(root / "wnids.txt", "\n".join(WNIDS) + "\n")
    save(root / "words.txt", WORDS)
    for wnid in WNIDS:
        for i in range(2):
            save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", pixels)
        save(root / "train" / wnid / f"{wnid}_boxes.txt", ROWS.format(wnid))
    for i in range(2):
        save(root / "val" / "images" / f"val_{i}.JPEG", pixels)
    save(root / "val" / "val_annotations.txt", VAL)
    return root
