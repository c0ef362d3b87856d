// The functions of model::Activation, by its numbers.
const uint kSilu = 1u;
const uint kGelu = 2u;
const uint kReluSquared = 3u;
const uint kSigmoid = 4u;
const uint kClampedSwiglu = 6u;  // of two values only

// Right for large arguments too, where GLSL's own need not be.
float bounded_tanh(float x) { return 1.0 - 2.0 / (1.0 + exp(2.0 * x)); }

float activated(uint function, float x) {
  if (function == kSilu) return x / (1.0 + exp(-x));
  if (function == kGelu) return 0.5 * x * (1.0 + bounded_tanh(0.7978845608 * (x + 0.044715 * x * x * x)));
  if (function == kReluSquared) return x > 0.0 ? x * x : 0.0;
  if (function == kSigmoid) return 1.0 / (1.0 + exp(-x));
  return x;
}

float activated_gate(uint function, float gate, float up) {
  if (function != kClampedSwiglu) return activated(function, gate) * up;
  const float g = min(gate, 7.0);
  return g / (1.0 + exp(-1.702 * g)) * (clamp(up, -7.0, 7.0) + 1.0);
}
