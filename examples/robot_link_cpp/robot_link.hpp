// The robot's side of the robot link, version 1: readings out, set-points in, questions answered. docs/robot-link.md
// One thread uses it; nothing here waits.
#pragma once
#include <sys/stat.h>
#include <zmq.h>

#include <chrono>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "msgpack.hpp"

using Vector = std::vector<double>;
using Texts = std::map<std::string, std::string>;

class RobotLink {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kWatchdog = std::chrono::milliseconds(50);

  // `details` is what the welcome tells. Set-points outside the limits, or further than `jump` from the one before,
  // are refused. The three addresses are bound.
  RobotLink(Texts details, Vector lower, Vector upper, Vector jump, char** addresses)
      : details_(std::move(details)), lower_(std::move(lower)), upper_(std::move(upper)), jump_(std::move(jump)) {
    std::random_device random;
    publisher_ = static_cast<uint64_t>(random()) << 32 | random();
    umask(0077);  // Nobody else on this machine may reach ipc addresses.
    states_ = bound(ZMQ_PUB, addresses[0]);
    commands_ = bound(ZMQ_SUB, addresses[1]);
    service_ = bound(ZMQ_ROUTER, addresses[2]);
  }
  RobotLink(const RobotLink&) = delete;
  ~RobotLink() {
    for (void* socket : {states_, commands_, service_}) zmq_close(socket);
    zmq_ctx_term(context_);
  }

  // Once per cycle, before the arm moves: `target` becomes what the arm has to go to now.
  void take_in(const Vector& position, Vector& target) {
    char frame[kMost];
    const int size = zmq_recv(commands_, frame, kMost, ZMQ_DONTWAIT);
    try {
      if (size >= 0) command(frame, size, target);
    } catch (const std::exception& error) {  // Nothing that a stranger sends ends the robot.
      ++refused_, fault_ = error.what();
    }
    // The watchdog: the robot trusts no process to be there, and rests where it is.
    if (!resting_ && (stopped_ || Clock::now() - told_ > kWatchdog)) resting_ = true, target = position;
    for (int count = 0; count < 32 && question(); ++count) {}
  }

  // Once per cycle, after the arm has moved.
  void publish(const Vector& position, const Vector& velocity) {
    msgpack::Writer out;
    out.put(0, 1), out.put(publisher_, 8), out.put(seq_, 8);
    out.map(7);
    out.text("type"), out.text("arm_state");
    out.text("seq"), out.integer(static_cast<int64_t>(seq_++));
    out.text("t_robot_ns"), out.integer(std::chrono::nanoseconds(Clock::now().time_since_epoch()).count());
    out.text("position"), out.reals(position);
    out.text("velocity"), out.reals(velocity);
    out.text("status"), out.text(stopped_ ? "protective_stop" : resting_ ? "watchdog" : "ok");
    out.text("command_seq"), out.integer(command_seq_);
    zmq_send(states_, out.bytes.data(), out.bytes.size(), ZMQ_DONTWAIT);
  }

 private:
  static constexpr int kMost = 16384;

  void command(const char* frame, size_t size, Vector& target) {
    if (size < 17 || frame[0] != 0) throw std::runtime_error("command: expected a zero byte, two numbers, a message");
    msgpack::Reader header(frame + 1, 16), reader(frame + 17, size - 17);
    const uint64_t publisher = header.take(8), number = header.take(8);
    if (publisher == last_publisher_ && number <= last_number_) return;  // Repeated or overtaken: no news.
    Vector wanted;
    std::string type;
    int64_t seq = -1;
    for (size_t left = reader.next(msgpack::Item::map).count; left > 0; --left) {
      const std::string name = reader.next(msgpack::Item::text).words;
      if (name == "type") {
        type = reader.next().words;
      } else if (name == "seq") {
        seq = reader.next(msgpack::Item::integer).whole;
      } else if (name == "position") {
        for (size_t n = reader.next(msgpack::Item::array).count; n > 0; --n) wanted.push_back(reader.next().number);
      } else {
        reader.skip();
      }
    }
    if (type != "arm_command" || wanted.size() != target.size()) throw std::runtime_error("command: another length");
    for (size_t i = 0; i < wanted.size(); ++i) {  // Written so that NaN is refused.
      const bool inside = wanted[i] >= lower_[i] - 1e-6 && wanted[i] <= upper_[i] + 1e-6;
      if (!inside) throw std::runtime_error("command: outside the limits");
      if (!(std::fabs(wanted[i] - target[i]) <= jump_[i])) throw std::runtime_error("command: jumps");
    }
    last_publisher_ = publisher, last_number_ = number, command_seq_ = seq, told_ = Clock::now();
    if (!stopped_) target = wanted, resting_ = false;
  }

  bool question() {  // Three parts: who asks, the number of the question, a message. Answers carry the first two.
    std::vector<std::string> parts;
    for (int more = 1; more != 0;) {
      char part[kMost];
      const int size = zmq_recv(service_, part, kMost, ZMQ_DONTWAIT);
      if (size < 0) return false;
      if (parts.size() < 4) parts.emplace_back(part, size);
      size_t length = sizeof more;
      zmq_getsockopt(service_, ZMQ_RCVMORE, &more, &length);
    }
    if (parts.size() != 3 || parts[1].size() != 8) return true;
    try {
      answer(parts[0], parts[1], parts[2]);
    } catch (const std::exception& error) {
      reply(parts[0], parts[1], false, error.what());
    }
    return true;
  }

  void answer(const std::string& peer, const std::string& id, const std::string& message) {
    msgpack::Reader reader(message.data(), message.size());
    Texts said, theirs;
    int64_t protocol = 0, session = 0;
    for (size_t left = reader.next(msgpack::Item::map).count; left > 0; --left) {
      const std::string name = reader.next(msgpack::Item::text).words;
      if (name == "type" || name == "role" || name == "verb") {
        said[name] = reader.next(msgpack::Item::text).words;
      } else if (name == "protocol" || name == "session") {
        (name == "session" ? session : protocol) = reader.next(msgpack::Item::integer).whole;
      } else if (name == "details") {
        for (size_t n = reader.next(msgpack::Item::map).count; n > 0; --n) {
          const std::string key = reader.next(msgpack::Item::text).words;
          theirs[key] = reader.next(msgpack::Item::text).words;
        }
      } else {
        reader.skip();
      }
    }
    if (said["type"] == "request") return request(peer, id, said["verb"]);
    if (said["type"] != "hello") return reply(peer, id, false, "expected a hello or a request");
    for (const std::string name : {"link", "robot", "axes"}) {  // What both sides tell must be the same.
      if (theirs.count(name) == 0 || theirs[name] == details_[name]) continue;
      return reply(peer, id, false, name + " differs",
                   {{"field", name},
                    {"ours", theirs[name]},
                    {"theirs", details_[name]},
                    {"remedy", "connect to the robot that you mean"}});
    }
    if (said["role"] == "control") {
      // The holder is asked nothing: it drops what answers no question, and cannot be reached if it has gone.
      const bool another = !holder_.empty() && holder_ != peer && session_ != session;
      if (another && send(holder_, std::string(8, 0), ""))
        return reply(peer, id, false, "another control is connected, and there can be only one: end that one first");
      holder_ = peer, session_ = session;
    }
    msgpack::Writer out;
    out.map(4);
    out.text("type"), out.text("welcome");
    out.text("protocol"), out.integer(protocol);  // As it came: it is about messages that are not of the robot link.
    out.text("role"), out.text("robot");
    out.text("details"), texts(out, details_);
    send(peer, id, out.bytes);
  }

  void request(const std::string& peer, const std::string& id, const std::string& verb) {
    if (verb != "stop" && verb != "recover" && verb != "status")
      return reply(peer, id, false, "unknown request; there are stop, recover, status");
    if (verb != "status") stopped_ = verb == "stop";
    reply(peer, id, true, "",
          {{"status", stopped_ ? "protective_stop" : resting_ ? "watchdog" : "ok"},
           {"refused", std::to_string(refused_)},
           {"last_fault", fault_}});
  }

  void reply(const std::string& peer, const std::string& id, bool ok, const std::string& text,
             const Texts& values = {}) {
    msgpack::Writer out;
    out.map(4);
    out.text("type"), out.text("reply"), out.text("ok"), out.boolean(ok);
    out.text("text"), out.text(text), out.text("values"), texts(out, values);
    send(peer, id, out.bytes);
  }

  static void texts(msgpack::Writer& out, const Texts& texts) {
    out.map(texts.size());
    for (const auto& [name, text] : texts) out.text(name), out.text(text);
  }

  // Returns whether the peer is there.
  bool send(const std::string& peer, const std::string& id, const std::string& message) {
    return zmq_send(service_, peer.data(), peer.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
           zmq_send(service_, id.data(), id.size(), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
           zmq_send(service_, message.data(), message.size(), ZMQ_DONTWAIT) >= 0;
  }

  void* bound(int kind, const char* address) {
    void* socket = zmq_socket(context_, kind);
    const int one = 1, linger_ms = 100, beat_ms = 500, dead_ms = 1500;
    const int64_t most = kMost;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &most, sizeof most);
    zmq_setsockopt(socket, ZMQ_HEARTBEAT_IVL, &beat_ms, sizeof beat_ms);
    zmq_setsockopt(socket, ZMQ_HEARTBEAT_TIMEOUT, &dead_ms, sizeof dead_ms);
    // The newest message only; and a service that knows who has gone.
    zmq_setsockopt(socket, kind == ZMQ_ROUTER ? ZMQ_ROUTER_MANDATORY : ZMQ_CONFLATE, &one, sizeof one);
    if (kind == ZMQ_SUB) zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "", 1);  // The empty topic, which is a zero byte.
    if (zmq_bind(socket, address) == 0) return socket;
    throw std::runtime_error(std::string(address) + ": " + zmq_strerror(zmq_errno()));
  }

  void *context_ = zmq_ctx_new(), *states_ = nullptr, *commands_ = nullptr, *service_ = nullptr;
  Texts details_;
  Vector lower_, upper_, jump_;
  Clock::time_point told_{};
  std::string holder_, fault_;
  int64_t session_ = 0, command_seq_ = -1, refused_ = 0;
  uint64_t publisher_ = 0, seq_ = 0, last_publisher_ = 0, last_number_ = 0;
  bool stopped_ = false, resting_ = true;
};
