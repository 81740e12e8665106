"""Pre-training without labels: SimCLR tells images apart, SCAN clusters them with neighbours."""

from noisyselect.torch.pretrain.pretrained import Pretrained, PretrainEpoch, pretrain
from noisyselect.torch.pretrain.scan import draw_neighbours, scan_epoch, scan_loss
from noisyselect.torch.pretrain.simclr import ProjectionHead, nt_xent, simclr_epoch

__all__ = [
    "PretrainEpoch",
    "Pretrained",
    "ProjectionHead",
    "draw_neighbours",
    "nt_xent",
    "pretrain",
    "scan_epoch",
    "scan_loss",
    "simclr_epoch",
]
