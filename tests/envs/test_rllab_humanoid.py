"""rllab's Humanoid: every number that sets it apart, its reward by hand, its end, its determinism."""

import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import ardae_rl.envs
from ardae_rl.envs.rllab_humanoid import RllabHumanoidEnv

gym.register_envs(ardae_rl.envs)
ID = "ardae_rl/RllabHumanoid-v0"
SIDES = pytest.mark.parametrize(("side", "sign"), [("right", -1), ("left", 1)])


@pytest.fixture(scope="module")
def env() -> Iterator[RllabHumanoidEnv]:
    made = RllabHumanoidEnv()
    yield made
    made.close()


@pytest.fixture(scope="module")
def model(env: RllabHumanoidEnv) -> mujoco.MjModel:
    return env.model


@pytest.fixture(scope="module")
def gymnasiums() -> mujoco.MjModel:
    made: Any = gym.make("Humanoid-v5")
    yield made.unwrapped.model
    made.close()


# the model


def test_sizes(model: mujoco.MjModel, env: RllabHumanoidEnv) -> None:
    assert (model.nq, model.nv, model.nu, model.nbody) == (28, 27, 21, 14)
    assert env.observation_space.shape == (142,)
    assert env.action_space.shape == (21,)
    assert env.action_space == gym.spaces.Box(-0.4, 0.4, (21,), np.float32)


def test_control_at_125_hz(model: mujoco.MjModel, env: RllabHumanoidEnv) -> None:
    assert (model.opt.timestep, env.frame_skip, env.metadata["render_fps"]) == (0.002, 4, 125)
    assert 1 / env.dt == pytest.approx(125)


def test_contacts(model: mujoco.MjModel) -> None:
    np.testing.assert_array_equal(model.geom_solref, np.tile([0.02, 1], (model.ngeom, 1)))
    np.testing.assert_array_equal(model.geom_solimp[:, :3], np.tile([0.8, 0.8, 0.01], (model.ngeom, 1)))


def test_motors_in_order_with_their_gears(model: mujoco.MjModel) -> None:
    leg = ["hip_x 200", "hip_z 200", "hip_y 600", "knee 400", "ankle_x 100", "ankle_y 100"]
    arm = ["shoulder1 100", "shoulder2 100", "elbow 200"]
    expected = ["abdomen_y 200", "abdomen_z 200", "abdomen_x 200"]
    expected += [f"{side}_{motor}" for motors in (leg, arm) for side in ("right", "left") for motor in motors]
    driven = [model.joint(model.actuator_trnid[i, 0]).name for i in range(model.nu)]
    assert [f"{joint} {gear:g}" for joint, gear in zip(driven, model.actuator_gear[:, 0], strict=True)] == expected
    assert (model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT).all() and model.actuator_ctrllimited.all()
    np.testing.assert_array_equal(model.actuator_ctrlrange, [[-0.4, 0.4]] * 21)


def test_a_motor_is_one_that_gymnasiums_model_has(model: mujoco.MjModel, gymnasiums: mujoco.MjModel) -> None:
    """Torque = gear x control, without dynamics or bias."""
    for field in ("dyntype", "gaintype", "biastype", "gainprm", "biasprm", "forcelimited"):
        ours, theirs = (getattr(each, f"actuator_{field}") for each in (model, gymnasiums))
        assert (ours == theirs[0]).all(), field


@SIDES
def test_feet(model: mujoco.MjModel, side: str, sign: int) -> None:
    """Two capsules; ends along the foot's x, mirrored in y."""
    foot = model.body(f"{side}_foot")
    np.testing.assert_allclose(foot.pos, [0, 0, -0.39])
    assert model.body(foot.parentid[0]).name == f"{side}_shin" and foot.geomnum[0] == 2
    expected = {(-0.07, sign * 0.02, 0.14, sign * 0.04), (-0.07, 0.0, 0.14, -sign * 0.02)}
    found = set()
    for geom in range(foot.geomadr[0], foot.geomadr[0] + 2):
        assert model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CAPSULE
        radius, half_length = model.geom_size[geom, :2]
        assert radius == 0.027
        axis = np.zeros(9)
        mujoco.mju_quat2Mat(axis, model.geom_quat[geom])
        along = half_length * axis[2::3]
        heel, toe = sorted((model.geom_pos[geom] + s * along for s in (1, -1)), key=lambda end: end[0])
        np.testing.assert_allclose([heel[2], toe[2]], 0, atol=1e-9)
        found.add(tuple(np.round([*heel[:2], *toe[:2]], 9) + 0.0))
    assert found == expected


@SIDES
@pytest.mark.parametrize(
    ("joint", "height", "axis", "stiffness", "armature"),
    [("ankle_y", 0.08, (0, 1, 0), 4, 0.0008), ("ankle_x", 0.04, (1, 0, 0.5), 1, 0.0006)],
)
def test_ankles(
    model: mujoco.MjModel, side: str, sign: int, joint: str, height: float, axis: tuple[float, ...], stiffness: float, armature: float
) -> None:
    ankle = model.joint(f"{side}_{joint}")
    assert model.body(model.jnt_bodyid[ankle.id]).name == f"{side}_foot"
    np.testing.assert_allclose(ankle.pos, [0, 0, height])
    np.testing.assert_allclose(ankle.axis, np.array(axis) / np.linalg.norm(axis))
    np.testing.assert_allclose(np.degrees(ankle.range), [-50, 50])
    assert ankle.limited[0] and ankle.stiffness[0] == stiffness and ankle.armature[0] == armature and ankle.damping[0] == 1


def test_left_hip_range(model: mujoco.MjModel) -> None:
    np.testing.assert_allclose(np.degrees(model.joint("left_hip_y").range), [-120, 20])
    np.testing.assert_allclose(np.degrees(model.joint("right_hip_y").range), [-110, 20])


def test_everything_else_is_gymnasiums(model: mujoco.MjModel, gymnasiums: mujoco.MjModel) -> None:
    for number in range(gymnasiums.njnt):
        theirs, ours = gymnasiums.joint(number), model.joint(gymnasiums.joint(number).name)
        for field in ("pos", "axis", "armature", "damping", "stiffness", "limited", "type"):
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field), f"{theirs.name}.{field}")
        if theirs.name != "left_hip_y":
            np.testing.assert_array_equal(ours.range, theirs.range)
    for number in range(gymnasiums.nbody):
        theirs = gymnasiums.body(number)
        if "foot" not in theirs.name:
            np.testing.assert_allclose(model.body(theirs.name).mass, theirs.mass)
            np.testing.assert_allclose(model.body(theirs.name).pos, theirs.pos)
    assert (model.opt.integrator, model.opt.solver) == (gymnasiums.opt.integrator, gymnasiums.opt.solver)


# what is seen, rewarded, and when it ends


def test_observation_is_positions_velocities_clipped_forces_and_centre_of_mass(env: RllabHumanoidEnv) -> None:
    env.reset(seed=0)
    for _ in range(40):  # long enough to land
        observation, *_ = env.step(np.zeros(21))
    data, masses = env.data, env.model.body_mass
    np.testing.assert_array_equal(observation[:28], data.qpos)
    np.testing.assert_array_equal(observation[28:55], data.qvel)
    np.testing.assert_array_equal(observation[55:139].reshape(14, 6), data.cfrc_ext.clip(-1, 1))
    np.testing.assert_allclose(observation[139:], (masses[:, None] * data.xipos).sum(0) / masses.sum())
    assert np.abs(data.cfrc_ext).max() > 1, "no contact: the test has seen nothing clipped"


def test_what_is_seen_belongs_to_the_present_state(env: RllabHumanoidEnv) -> None:
    """Forces and centres of mass computed anew from (qpos, qvel, ctrl) are those observed: nothing lags by a time step."""
    env.reset(seed=1)
    for _ in range(40):
        observation, _, _, _, terms = env.step(np.zeros(21))
    assert observation[55:139].any()
    again = mujoco.MjData(env.model)
    again.qpos[:], again.qvel[:], again.ctrl[:] = env.data.qpos, env.data.qvel, env.data.ctrl
    again.qacc_warmstart[:] = env.data.qacc_warmstart
    mujoco.mj_forward(env.model, again)
    mujoco.mj_rnePostConstraint(env.model, again)
    mujoco.mj_subtreeVel(env.model, again)
    np.testing.assert_allclose(observation[55:139], again.cfrc_ext.clip(-1, 1).ravel(), atol=1e-3)
    np.testing.assert_allclose(observation[139:], again.body("torso").subtree_com)
    assert terms["reward_forward"] == pytest.approx(again.body("torso").subtree_linvel[0])


def test_reward_by_hand(env: RllabHumanoidEnv) -> None:
    env.reset(seed=2)
    action = np.linspace(-0.1, 0.1, 21)
    for _ in range(40):
        observation, reward, _, _, terms = env.step(action)
    masses = env.model.body_mass[1:, None]
    velocity = np.zeros((13, 6))
    for body in range(1, 14):
        mujoco.mj_objectVelocity(env.model, env.data, mujoco.mjtObj.mjOBJ_BODY, body, velocity[body - 1], 0)
    x, y, z = (masses * velocity[:, 3:]).sum(0) / masses.sum()  # mjOBJ_BODY: the body's own centre of mass
    expected = x + 0.2 - 0.5e-3 * ((action / 0.4) ** 2).sum() - 0.5e-5 * (observation[55:139] ** 2).sum() - 0.5e-2 * (y**2 + z**2)
    assert reward == pytest.approx(expected, rel=1e-6)
    assert reward == pytest.approx(sum(terms.values()))
    assert min(abs(x), abs(y), abs(z), abs(terms["reward_contact"])) > 1e-6


def test_full_control_costs_half_a_thousandth_per_motor(env: RllabHumanoidEnv) -> None:
    env.reset(seed=0)
    assert env.step(np.full(21, 0.4))[4]["reward_ctrl"] == pytest.approx(-21 * 0.5e-3)


@pytest.mark.parametrize(("height", "ends"), [(0.75, True), (0.85, False), (1.4, False), (1.95, False), (2.05, True)])
def test_ends_where_the_torso_is_too_low_or_too_high(env: RllabHumanoidEnv, height: float, ends: bool) -> None:
    env.reset(seed=0)
    position = env.init_qpos.copy()
    position[2] = height
    env.set_state(position, np.zeros(27))
    _, _, terminated, truncated, _ = env.step(np.zeros(21))
    assert (terminated, truncated) == (ends, False)


def test_no_time_limit_unless_asked_for() -> None:
    assert gym.spec(ID).max_episode_steps is None
    made = gym.make(ID, max_episode_steps=3)
    made.reset(seed=0)
    assert [made.step(np.zeros(21, np.float32))[3] for _ in range(3)] == [False, False, True]
    made.close()


def test_starts_near_the_upright_pose(env: RllabHumanoidEnv) -> None:
    starts = np.array([env.reset(seed=seed)[0][:55] for seed in range(200)])
    upright = np.concatenate([env.init_qpos, np.zeros(27)])
    np.testing.assert_allclose(upright[:7], [0, 0, 1.4, 1, 0, 0, 0])
    scale = np.repeat([0.01, 0.1], [28, 27])
    z = (starts - upright) / scale
    assert abs(z.mean()) < 4 / z.size**0.5 and abs(z.var() - 1) < 4 * (2 / z.size) ** 0.5


def test_the_same_seed_gives_the_same_episode_and_another_does_not() -> None:
    def episode(seed: int) -> np.ndarray:
        made = gym.make(ID)
        made.action_space.seed(seed)
        made.reset(seed=seed)
        steps = np.array([made.step(made.action_space.sample())[0] for _ in range(20)])
        made.close()
        return steps

    np.testing.assert_array_equal(episode(3), episode(3))
    assert not np.array_equal(episode(3), episode(4))


def test_gymnasiums_checker_finds_nothing() -> None:
    made = gym.make(ID)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=r".*observation space m(in|ax)imum value is -?infinity")
        check_env(made.unwrapped, skip_render_check=True)
    made.close()
