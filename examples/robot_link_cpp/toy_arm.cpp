// A toy arm behind the robot link: two joints and a gripper, simulated at 1 kHz. Put your own arm in place of `Arm`.
#include <csignal>
#include <cstdio>
#include <thread>

#include "robot_link.hpp"

constexpr auto kCycle = std::chrono::milliseconds(1);
const Vector kLower{-2, -2, 0}, kUpper{2, 2, 0.08}, kJump{0.1, 0.1, 0.02}, kSpeed{2, 2, 0.2};  // rad, rad, m
const Texts kDetails{{"link", "1"}, {"robot", "toy_arm"}, {"axes", "shoulder elbow gripper_opening"}, {"joints", "2"},
                     {"rate_hz", "1000"}, {"rest_s", "0.3"}, {"lower", "-2 -2 0"}, {"upper", "2 2 0.08"},
                     {"velocity", "2 2 0.2"}, {"acceleration", "10 10 2"}};

struct Arm {
  Vector position{0.4, -0.7, 0.02}, velocity{0.0, 0.0, 0.0}, target = position;

  void step(double dt_s) {  // Follows its set-point with a lag of 20 ms, never faster than its limit.
    for (size_t i = 0; i < position.size(); ++i) {
      const double most = kSpeed[i] * dt_s, wanted = (target[i] - position[i]) * (1.0 - std::exp(-dt_s / 0.02));
      const double moved = std::fmin(std::fmax(wanted, -most), most);
      position[i] += moved, velocity[i] = moved / dt_s;
    }
  }
};

int main(int count, char** words) try {
  if (count != 4) throw std::runtime_error("give three addresses such as tcp://127.0.0.1:7430: STATE COMMAND SERVICE");
  static volatile std::sig_atomic_t ended = 0, pushed = 0;  // SIGUSR1 stands for what makes an arm stop by itself.
  for (int own : {SIGINT, SIGTERM, SIGUSR1}) std::signal(own, [](int got) { (got == SIGUSR1 ? pushed : ended) = 1; });
  RobotLink link(kDetails, kLower, kUpper, kJump, words + 1);
  Arm arm;
  for (auto due = Clock::now() + kCycle, last = Clock::now(); !ended; due += kCycle) {
    std::this_thread::sleep_until(due);
    const auto now = Clock::now();
    while (due + kCycle <= now) due += kCycle;  // What was missed is left out, never made up for.
    if (pushed) link.stop("shoulder: pushed with 31 N m, at most 20"), pushed = 0;
    link.take_in(arm.position, arm.target);
    arm.step(std::chrono::duration<double>(now - last).count());
    link.publish(arm.position, arm.velocity);
    last = now;
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "toy_arm: %s\n", error.what());
  return 1;
}
