"""Train the network of pytorch_net.py, and save its weights, the module and exported programs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from digits import FOLDER, save, split
from pytorch_net import Net
from safetensors.torch import save_file

MEAN, STD = 4.9, 6.0
"""The network expects (raw - MEAN) / STD."""

torch.manual_seed(0)
x, y, held_out, classes = (torch.from_numpy(a) for a in split())
x, held_out = ((a[:, None] - MEAN) / STD for a in (x, held_out))
net = Net()
optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
for _ in range(15):
    for batch in torch.randperm(len(x)).split(64):
        optimiser.zero_grad()
        F.cross_entropy(net(x[batch]), y[batch]).backward()
        optimiser.step()
net.eval()
with torch.no_grad():
    scores = net(held_out)
print(f"pytorch {(scores.argmax(1) == classes).float().mean():.4f}")
torch.save(net.state_dict(), FOLDER / "weights.pt")
torch.save({"epoch": 15, "state_dict": net.state_dict()}, FOLDER / "checkpoint.pt")
save_file(net.state_dict(), FOLDER / "weights.safetensors")
torch.save(net, FOLDER / "module.pt")
example = (torch.zeros(2, 1, 8, 8),)
torch.export.save(
    torch.export.export(net, example, dynamic_shapes=({0: torch.export.Dim("batch")},)), FOLDER / "program.pt2"
)
torch.export.save(torch.export.export(net, example), FOLDER / "fixed.pt2")
head = net.head
save(
    "held_out",
    held_out.numpy(),
    classes.numpy(),
    scores=scores.numpy(),
    weight=head.weight.detach().numpy(),
    bias=head.bias.detach().numpy(),
)
