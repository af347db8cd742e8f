"""Files as their publishers released them: sizes and digests.

Those of MNIST, Fashion-MNIST, CIFAR-10's binary archive, KMNIST, EMNIST, SVHN and ImageNet's images are those of
TensorFlow Datasets (url_checksums/{mnist,fashion_mnist,cifar10,kmnist,emnist,svhn_cropped,imagenet2012}.txt), and
Fashion-MNIST's were also taken from the files. The digests of CIFAR-10's and CIFAR-100's Python archives are those in
Keras (datasets/cifar10.py, cifar100.py). The digest of ImageNet's development kit is the one in torchvision
(prototype/datasets/_builtin/imagenet.py).
"""

from diptych.data.download import RemoteFile
from diptych.data.readers import cifar, emnist
from diptych.data.readers.imagenet import Pins

IDX_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def _idx_files(pins: tuple[tuple[int, str], ...], bases: tuple[str, ...]) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(name, size, sha256, tuple(base + name for base in bases))
        for name, (size, sha256) in zip(IDX_NAMES, pins, strict=True)
    )


MNIST_FILES = _idx_files(
    (
        (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
KMNIST_FILES = _idx_files(
    (
        (18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    ),
    ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
)
FASHION_MNIST_FILES = _idx_files(
    (
        (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
    (
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
)
CIFAR10_FILES = {
    cifar.PYTHON: RemoteFile(
        cifar.PYTHON.archive,
        170_498_071,
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    ),
    cifar.BINARY: RemoteFile(
        cifar.BINARY.archive,
        170_052_171,
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    ),
}
CIFAR100_FILE = RemoteFile(
    cifar.PYTHON_100.archive,
    169_001_437,
    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
)
EMNIST_FILE = RemoteFile(
    emnist.ARCHIVE,
    561_753_746,
    "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    (
        "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
        "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/gzip.zip",
    ),
)
SVHN_FILES = tuple(
    RemoteFile(name, size, sha256, (f"https://ufldl.stanford.edu/housenumbers/{name}",))
    for name, size, sha256 in (
        ("train_32x32.mat", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
        ("test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
    )
)
IMAGENET = Pins(
    train=(
        "ILSVRC2012_img_train.tar",
        147_897_477_120,
        "b08200a27a8e34218a0e58fde36b0fe8f73bc377f4acea2d91602057c3ca45bb",
    ),
    validation=(
        "ILSVRC2012_img_val.tar",
        6_744_924_160,
        "c7e06a6c0baccf06d8dbeb6577d71efff84673a5dbdd50633ab44f8ea0456ae0",
    ),
    devkit_sha256="b59243268c0d266621fd587d2018f69e906fb22875aca0e295b48cafaa927953",
)
