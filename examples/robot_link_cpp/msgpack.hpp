// As much of MessagePack as the robot link needs. https://github.com/msgpack/msgpack/blob/master/spec.md
#pragma once
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace msgpack {

class Writer {
 public:
  std::string bytes;

  void map(size_t n) { n < 16 ? put(0x80 | n, 1) : (put(0xde, 1), put(n, 2)); }
  void array(size_t n) { n < 16 ? put(0x90 | n, 1) : (put(0xdc, 1), put(n, 2)); }
  void text(const std::string& s) { put(0xda, 1), put(s.size(), 2), bytes += s; }
  void integer(int64_t value) { put(0xd3, 1), put(static_cast<uint64_t>(value), 8); }
  void boolean(bool value) { put(value ? 0xc3 : 0xc2, 1); }
  void real(double value) {
    uint64_t bits;
    std::memcpy(&bits, &value, 8);
    put(0xcb, 1), put(bits, 8);
  }
  void reals(const std::vector<double>& values) {
    array(values.size());
    for (const double value : values) real(value);
  }
  void put(uint64_t value, int size) {  // Big-endian, as everything in MessagePack.
    while (size-- > 0) bytes += static_cast<char>(value >> (8 * size));
  }
};

struct Item {
  enum Kind { nil, boolean, integer, real, text, array, map } kind = nil;
  int64_t whole = 0;    // boolean, integer
  double number = 0.0;  // integer, real
  std::string words;    // text
  size_t count = 0;     // array: items; map: pairs
};

// Reads items one after the other. Whatever the bytes are, it ends with a result or a std::runtime_error.
class Reader {
 public:
  Reader(const void* data, size_t size) : at_(static_cast<const uint8_t*>(data)), end_(at_ + size) {}

  Item next() {
    const auto tag = static_cast<uint8_t>(take(1));
    if (tag <= 0x7f || tag >= 0xe0) return whole(static_cast<int8_t>(tag));
    if (tag <= 0x8f) return many(Item::map, tag & 0x0f);
    if (tag <= 0x9f) return many(Item::array, tag & 0x0f);
    if (tag <= 0xbf) return words(tag & 0x1f);
    switch (tag) {
      case 0xc0: return Item{};
      case 0xc2: case 0xc3: return flag(tag & 1);
      case 0xc4: case 0xc5: case 0xc6: return words(take(1 << (tag - 0xc4)));
      case 0xca: return real(as<float>(static_cast<uint32_t>(take(4))));
      case 0xcb: return real(as<double>(take(8)));
      case 0xcc: case 0xcd: case 0xce: case 0xcf: return whole(static_cast<int64_t>(take(1 << (tag - 0xcc))));
      case 0xd0: return whole(static_cast<int8_t>(take(1)));
      case 0xd1: return whole(static_cast<int16_t>(take(2)));
      case 0xd2: return whole(static_cast<int32_t>(take(4)));
      case 0xd3: return whole(static_cast<int64_t>(take(8)));
      case 0xd9: case 0xda: case 0xdb: return words(take(1 << (tag - 0xd9)));
      case 0xdc: case 0xdd: return many(Item::array, take(2 << (tag - 0xdc)));
      case 0xde: case 0xdf: return many(Item::map, take(2 << (tag - 0xde)));
      default: throw std::runtime_error("MessagePack: a type that the robot link does not use");
    }
  }

  Item next(Item::Kind kind) {
    Item item = next();
    if (item.kind != kind) throw std::runtime_error("MessagePack: another type was expected");
    return item;
  }

  void skip(int depth = 0) {
    if (depth > 16) throw std::runtime_error("MessagePack: nested too deeply");
    const Item item = next();
    for (size_t i = 0; i < item.count * (item.kind == Item::map ? 2 : 1); ++i) skip(depth + 1);
  }

  uint64_t take(int size) {
    if (end_ - at_ < size) throw std::runtime_error("MessagePack: cut short");
    uint64_t value = 0;
    while (size-- > 0) value = value << 8 | *at_++;
    return value;
  }

 private:
  Item many(Item::Kind kind, uint64_t count) {
    // Each item takes a byte at least: a huge count in a short message is a lie.
    if (count > static_cast<uint64_t>(end_ - at_)) throw std::runtime_error("MessagePack: cut short");
    Item item;
    item.kind = kind, item.count = count;
    return item;
  }
  Item words(uint64_t size) {
    Item item = many(Item::text, size);
    item.count = 0, item.words.assign(reinterpret_cast<const char*>(at_), size), at_ += size;
    return item;
  }
  static Item whole(int64_t value) {
    Item item;
    item.kind = Item::integer, item.whole = value, item.number = static_cast<double>(value);
    return item;
  }
  static Item flag(bool value) {
    Item item = whole(value);
    item.kind = Item::boolean;
    return item;
  }
  template <typename To, typename Bits>
  static To as(Bits bits) {
    static_assert(sizeof(To) == sizeof(Bits));
    To value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  static Item real(double value) {
    Item item;
    item.kind = Item::real, item.number = value;
    return item;
  }
  const uint8_t *at_, *end_;
};

}  // namespace msgpack
