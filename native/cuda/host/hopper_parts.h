// Which parts of attention run on Hopper's own instructions, of heads of which width (flash_layout.h).
#pragma once

namespace cuda {

class HopperParts {
 public:
  enum Part { output, gradients };

  static HopperParts all() {
    HopperParts parts;
    parts.bits = 0xff;
    return parts;
  }
  static HopperParts none() { return {}; }
  bool any() const { return bits != 0; }
  bool has(Part part, long width) const { return (bits & bit(part, width)) != 0; }
  void remove(Part part, long width) { bits &= ~bit(part, width); }

 private:
  // Widths are 64, 128, 192 and 256.
  static unsigned bit(Part part, long width) { return 1u << (4 * part + width / 64 - 1); }
  unsigned bits = 0;
};

}  // namespace cuda
