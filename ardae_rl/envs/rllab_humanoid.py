"""rllab's Humanoid: 21 motors, feet with ankles, rewarded for the velocity of its centre of mass.

The model is Gymnasium's Humanoid with what differs changed (``humanoid_spec``); nothing of rllab is needed. After every step all derived
quantities (contact forces, centre of mass, its velocity) belong to the state the agent sees, not to the one a time step earlier.
Reference: Duan et al. 2016, arXiv:1604.06778; the numbers are those of [Lim2020] arXiv:2006.05164's environment.
"""

from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv
from gymnasium.spaces import Box

TIMESTEP_S, FRAME_SKIP = 0.002, 4
CONTROL_RANGE = (-0.4, 0.4)
HEALTHY_HEIGHT = (0.8, 2.0)  # of the torso, in m
ALIVE_BONUS, CONTROL_COST, CONTACT_COST, DEVIATION_COST = 0.2, 0.5e-3, 0.5e-5, 0.5e-2
POSITION_NOISE, VELOCITY_NOISE = 0.01, 0.1

_LEG = {"hip_x": 200, "hip_z": 200, "hip_y": 600, "knee": 400, "ankle_x": 100, "ankle_y": 100}
_ARM = {"shoulder1": 100, "shoulder2": 100, "elbow": 200}
GEARS = {
    **{"abdomen_y": 200, "abdomen_z": 200, "abdomen_x": 200},
    **{f"{side}_{joint}": gear for side in ("right", "left") for joint, gear in _LEG.items()},
    **{f"{side}_{joint}": gear for side in ("right", "left") for joint, gear in _ARM.items()},
}
"""Gear of each motor, by joint, in the order of the action's coordinates."""


def humanoid_spec() -> mujoco.MjSpec:
    """The model, ready to compile."""
    spec = mujoco.MjSpec.from_file(str(Path(gymnasium.__file__).parent / "envs/mujoco/assets/humanoid.xml"))
    spec.option.timestep = TIMESTEP_S
    spec.default.joint.armature = 0
    spec.default.geom.solref, spec.default.geom.solimp[:3] = (0.02, 1), (0.8, 0.8, 0.01)
    for geom in spec.geoms:
        geom.solref, geom.solimp[:3] = (0.02, 1), (0.8, 0.8, 0.01)
    spec.joint("left_hip_y").range = (-120, 20)
    for side, outwards in (("right", -1), ("left", 1)):
        spec.delete(spec.body(f"{side}_foot"))
        _add_foot(spec.body(f"{side}_shin"), side, outwards)
    _replace_motors(spec)
    return spec


def _add_foot(shin: Any, side: str, outwards: int) -> None:
    """Two capsules side by side and two hinges. ``outwards`` is the sign of y away from the other leg."""
    foot = shin.add_body(name=f"{side}_foot", pos=(0, 0, -0.39))
    hinge: dict[str, Any] = {"type": mujoco.mjtJoint.mjJNT_HINGE, "range": (-50, 50), "limited": True}
    foot.add_joint(name=f"{side}_ankle_y", pos=(0, 0, 0.08), axis=(0, 1, 0), stiffness=[4, 0, 0], armature=0.0008, **hinge)
    foot.add_joint(name=f"{side}_ankle_x", pos=(0, 0, 0.04), axis=(1, 0, 0.5), stiffness=[1, 0, 0], armature=0.0006, **hinge)
    for number, (heel, toe) in enumerate(((0.02, 0.04), (0.0, -0.02)), 1):
        ends = (-0.07, outwards * heel, 0, 0.14, outwards * toe, 0)
        foot.add_geom(name=f"{side}_foot{number}", type=mujoco.mjtGeom.mjGEOM_CAPSULE, fromto=ends, size=(0.027, 0, 0))


def _replace_motors(spec: mujoco.MjSpec) -> None:
    for motor in list(spec.actuators):
        spec.delete(motor)
    for joint, gear in GEARS.items():
        motor = spec.add_actuator(name=joint, target=joint, trntype=mujoco.mjtTrn.mjTRN_JOINT, gear=[gear, 0, 0, 0, 0, 0])
        motor.set_to_motor()
        motor.ctrlrange, motor.ctrllimited = CONTROL_RANGE, True


class RllabHumanoidEnv(MujocoEnv):
    """Observation (142,): qpos (28), qvel (27), external forces on every body clipped to +-1 (84), whole-body centre of mass (3).

    Action (21,) in [-0.4, 0.4]: motor controls in the order of ``GEARS``, held for 8 ms.
    Reward: v_x + 0.2 - 0.5e-3 |a / 0.4|^2 - 0.5e-5 |clipped forces|^2 - 0.5e-2 (v_y^2 + v_z^2), v the centre of mass's velocity in m/s.
    Terminates when the torso's height leaves [0.8, 2.0] m; there is no time limit. Keyword arguments are ``MujocoEnv``'s: ``render_mode``,
    ``width``, ``height``, ...
    """

    metadata = {  # noqa: RUF012 (Gymnasium's class attribute)
        "render_modes": ["human", "rgb_array", "depth_array", "rgbd_tuple"],
        "render_fps": round(1 / (TIMESTEP_S * FRAME_SKIP)),
    }

    def __init__(self, **kwargs: Any) -> None:
        space = Box(-np.inf, np.inf, (142,), np.float64)
        super().__init__("humanoid.xml", FRAME_SKIP, space, **kwargs)

    def _initialize_simulation(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = humanoid_spec().compile()
        model.vis.global_.offwidth, model.vis.global_.offheight = self.width, self.height
        return model, mujoco.MjData(model)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        self.do_simulation(action, self.frame_skip)
        terms = self._reward_terms(action)
        low, high = HEALTHY_HEIGHT
        terminated = not low <= self.data.qpos[2] <= high
        if self.render_mode == "human":
            self.render()
        return self._observation(), sum(terms.values()), terminated, False, terms

    def _step_mujoco_simulation(self, ctrl: np.ndarray, n_frames: int) -> None:
        self.data.ctrl[:] = ctrl
        mujoco.mj_step(self.model, self.data, nstep=n_frames)
        mujoco.mj_forward(self.model, self.data)
        self._derive()

    def reset_model(self) -> np.ndarray:
        position = self.init_qpos + POSITION_NOISE * self.np_random.standard_normal(self.model.nq)
        self.set_state(position, self.init_qvel + VELOCITY_NOISE * self.np_random.standard_normal(self.model.nv))
        self._derive()
        return self._observation()

    def _derive(self) -> None:
        """What ``mj_forward`` leaves out: external forces on the bodies, and velocities of centres of mass."""
        mujoco.mj_rnePostConstraint(self.model, self.data)
        mujoco.mj_subtreeVel(self.model, self.data)

    def _forces(self) -> np.ndarray:
        return np.clip(self.data.cfrc_ext, -1, 1).ravel()

    def _observation(self) -> np.ndarray:
        torso = self.data.body("torso")
        return np.concatenate([self.data.qpos, self.data.qvel, self._forces(), torso.subtree_com])

    def _reward_terms(self, action: np.ndarray) -> dict[str, float]:
        """What the reward is the sum of."""
        forward, *sideways = self.data.body("torso").subtree_linvel
        normalised = np.asarray(action) / CONTROL_RANGE[1]
        return {
            "reward_forward": float(forward),
            "reward_survive": ALIVE_BONUS,
            "reward_ctrl": -CONTROL_COST * float(np.square(normalised).sum()),
            "reward_contact": -CONTACT_COST * float(np.square(self._forces()).sum()),
            "reward_deviation": -DEVIATION_COST * float(np.square(sideways).sum()),
        }
