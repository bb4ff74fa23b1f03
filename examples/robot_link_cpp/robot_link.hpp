// The robot's side of the robot link, version 1: docs/robot-link.md. One thread uses it, and nothing here waits.
#pragma once
#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <map>
#include <msgpack.hpp>
#include <random>
#include <zmq.hpp>
#include <zmq_addon.hpp>

using Clock = std::chrono::steady_clock;
using Vector = std::vector<double>;
using Texts = std::map<std::string, std::string>;

class RobotLink {
 public:
  static constexpr auto kWatchdog = std::chrono::milliseconds(50);

  // `details` is told in the welcome. Set-points outside the limits, or that jump from the one before, are refused.
  RobotLink(Texts details, Vector lower, Vector upper, Vector jump, char** addresses)
      : details_(std::move(details)), lower_(std::move(lower)), upper_(std::move(upper)), jump_(std::move(jump)) {
    umask(0077);  // Nobody else on this machine may reach ipc addresses.
    commands_.set(zmq::sockopt::subscribe, zmq::buffer("", 1));  // The empty topic, which is a zero byte.
    service_.set(zmq::sockopt::router_mandatory, true);  // It knows who has gone.
    for (zmq::socket_t* socket : {&states_, &commands_, &service_}) {
      socket->set(zmq::sockopt::linger, 100), socket->set(zmq::sockopt::maxmsgsize, int64_t{16384});
      if (socket != &service_) {
        // Not where questions come: libzmq may end a process whose queue is full when a heartbeat is due.
        socket->set(zmq::sockopt::heartbeat_ivl, 500), socket->set(zmq::sockopt::heartbeat_timeout, 1500);
        socket->set(zmq::sockopt::conflate, true);
      }
      socket->bind(*addresses++);
    }
  }

  // Once per cycle, before the arm moves: `target` becomes what the arm has to go to now.
  void take_in(const Vector& position, Vector& target) {
    zmq::message_t frame;
    if (commands_.recv(frame, zmq::recv_flags::dontwait)) command(frame.to_string(), target);
    // The watchdog: the robot trusts no process to be there, and rests where it is.
    if (!resting_ && (stopped_ || Clock::now() - told_ > kWatchdog)) resting_ = true, target = position;
    for (int count = 0; count < 32 && question(); ++count) {}
  }

  // The arm has stopped by itself, or is to: it follows nothing until `recover`. Control tells people why.
  void stop(std::string why) {
    for (char& letter : why) if (letter < ' ' || letter > '~') letter = '?';  // What is left is UTF-8 for certain.
    stopped_ = true, detail_ = why.size() > 256 ? why.substr(0, 252) + " ..." : why;
  }

  // Once per cycle, after the arm has moved.
  void publish(const Vector& position, const Vector& velocity) {
    const int64_t now_ns = std::chrono::nanoseconds(Clock::now().time_since_epoch()).count();
    std::string frame(1, '\0');
    for (const uint64_t number : {publisher_, seq_})
      for (int shift = 56; shift >= 0; shift -= 8) frame += static_cast<char>(number >> shift);
    const auto state = [&](auto&... why) { return message("type", "arm_state", "seq", seq_++, "t_robot_ns", now_ns,
        "position", position, "velocity", velocity, "status", status(), "command_seq", command_seq_, why...); };
    frame += detail_.empty() ? state() : state("detail", detail_);
    states_.send(zmq::buffer(frame), zmq::send_flags::dontwait);
  }

 private:
  struct Asked {  // What the robot looks at of a hello, a request and an arm_command; the rest is skipped.
    int64_t protocol = 0, session = 0, seq = -1;
    Vector position;
    Texts details, arguments;
    std::string type, role, verb;
    MSGPACK_DEFINE_MAP(protocol, session, seq, position, details, arguments, type, role, verb)
  };
  static Asked unpacked(const std::string& bytes) {  // At most 64 items, 4096 characters, 8 levels.
    return msgpack::unpack(bytes.data(), bytes.size(), nullptr, nullptr, {64, 64, 4096, 4096, 4096, 8})->as<Asked>();
  }
  template <typename... Fields> static std::string message(const Fields&... fields) {  // Names and values in turn.
    msgpack::sbuffer bytes;
    msgpack::packer<msgpack::sbuffer> out(bytes);
    out.pack_map(sizeof...(fields) / 2), (out.pack(fields), ...);
    return {bytes.data(), bytes.size()};
  }
  static std::string reply(bool ok, const std::string& text, const Texts& values = {}) {
    return message("type", "reply", "ok", ok, "text", text, "values", values);
  }
  static void require(bool good, const char* or_else) { if (!good) throw std::runtime_error(or_else); }
  std::string status() const { return stopped_ ? "protective_stop" : resting_ ? "watchdog" : "ok"; }

  void command(const std::string& frame, Vector& target) try {
    require(frame.size() > 17 && frame[0] == 0, "command: expected a zero byte, two numbers, a message");
    const std::string header = frame.substr(1, 16);  // Publisher and number, big-endian: they compare as texts do.
    if (header.substr(0, 8) == last_.substr(0, 8) && header <= last_) return;  // Repeated or overtaken: no news.
    const Asked asked = unpacked(frame.substr(17));
    const Vector& wanted = asked.position;
    require(asked.type == "arm_command" && wanted.size() == target.size(), "command: another length");
    for (size_t i = 0; i < wanted.size(); ++i) {  // NaN fails both.
      require(wanted[i] >= lower_[i] - 1e-6 && wanted[i] <= upper_[i] + 1e-6, "command: outside the limits");
      require(std::fabs(wanted[i] - target[i]) <= jump_[i], "command: jumps");
    }
    last_ = header, command_seq_ = asked.seq, told_ = Clock::now();
    if (!stopped_) target = wanted, resting_ = false;
  } catch (const std::exception& error) {
    ++refused_, fault_ = error.what();  // Nothing that a stranger sends ends the robot.
  }

  bool question() {  // Three parts: who asks, the number of the question, a message. Answers carry the first two.
    std::vector<zmq::message_t> parts;
    if (!zmq::recv_multipart(service_, std::back_inserter(parts), zmq::recv_flags::dontwait)) return false;
    if (parts.size() != 3 || parts[1].size() != 8) return true;
    send(parts[0].to_string(), parts[1].to_string(), answer(parts[0].to_string(), parts[2].to_string()));
    return true;
  }

  std::string answer(const std::string& peer, const std::string& bytes) try {
    Asked asked = unpacked(bytes);
    if (asked.type == "request") {
      require(asked.verb == "stop" || asked.verb == "recover" || asked.verb == "status",
              "unknown request; there are stop, recover, status");
      if (asked.verb == "stop") stop(asked.arguments["reason"]);
      if (asked.verb == "recover") stopped_ = false, detail_.clear();
      return reply(true, "", {{"status", status()}, {"refused", std::to_string(refused_)}, {"last_fault", fault_}});
    }
    require(asked.type == "hello", "expected a hello or a request");
    for (const std::string name : {"link", "robot", "axes"}) {  // What both sides tell must be the same.
      const auto theirs = asked.details.find(name);
      if (theirs == asked.details.end() || theirs->second == details_[name]) continue;
      return reply(false, name + " differs", {{"field", name}, {"ours", theirs->second}, {"theirs", details_[name]},
                                              {"remedy", "connect to the robot that you mean"}});
    }
    if (asked.role == "control") {  // One at a time: to a holder that has gone nothing can be sent.
      const bool another = !holder_.empty() && holder_ != peer && session_ != asked.session;
      require(!another || !send(holder_, std::string(8, '\0'), ""),
              "another control is connected, and there can be only one: end that one first");
      holder_ = peer, session_ = asked.session;
    }
    // The protocol as it came: it is about messages that are not of the robot link.
    return message("type", "welcome", "protocol", asked.protocol, "role", "robot", "details", details_);
  } catch (const std::exception& error) {
    return reply(false, error.what());
  }

  bool send(const std::string& peer, const std::string& id, const std::string& message) try {
    const std::array parts{zmq::buffer(peer), zmq::buffer(id), zmq::buffer(message)};
    return zmq::send_multipart(service_, parts, zmq::send_flags::dontwait).has_value();
  } catch (const zmq::error_t&) {
    return false;  // The peer has gone.
  }

  zmq::context_t context_;
  zmq::socket_t states_{context_, ZMQ_PUB}, commands_{context_, ZMQ_SUB}, service_{context_, ZMQ_ROUTER};
  Texts details_;
  Vector lower_, upper_, jump_;
  Clock::time_point told_{};
  std::string holder_, fault_, last_, detail_;
  int64_t session_ = 0, command_seq_ = -1, refused_ = 0;
  uint64_t publisher_ = static_cast<uint64_t>(std::random_device{}()) << 32 | std::random_device{}(), seq_ = 0;
  bool stopped_ = false, resting_ = true;
};
