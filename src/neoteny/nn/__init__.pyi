from .imagenet import ContinualImageNetNet as ContinualImageNetNet
from .minatar import MinAtarNet as MinAtarNet
from .mlp import MLP as MLP
from .mlp import LinearNetwork as LinearNetwork
from .resnet import ResNet18 as ResNet18
from .vgg import VGG16 as VGG16
from .vision_transformer import VisionTransformer as VisionTransformer
