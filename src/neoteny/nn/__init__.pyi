from .imagenet import ContinualImageNetNet as ContinualImageNetNet
from .mlp import MLP as MLP
from .mlp import LinearNetwork as LinearNetwork
from .resnet import ResNet18 as ResNet18
from .minatar import MinAtarNet as MinAtarNet
