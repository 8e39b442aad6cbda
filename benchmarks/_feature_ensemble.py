"""The ensemble of members that look at features alone, by which blocks of features are compared."""

from rhoray.core.targets import BULK_MODULUS, COHESIVE_ENERGY, FORMATION_ENERGY, SHEAR_MODULUS
from rhoray.train.ensemble import KERNEL, NETWORKS, TREES

FEATURE_MEMBERS = (NETWORKS, KERNEL, TREES)
FEATURE_SHARES = {
    BULK_MODULUS.name: {NETWORKS: 0.2, KERNEL: 0.7, TREES: 0.1},
    SHEAR_MODULUS.name: {NETWORKS: 0.3, KERNEL: 0.5, TREES: 0.2},
    FORMATION_ENERGY.name: {NETWORKS: 0.4, KERNEL: 0.6},
    COHESIVE_ENERGY.name: {NETWORKS: 1.0},
}
