// The runs of a pass (pass_table.h): the tokens of one sequence, and where its state is read and left.
struct Run {
  uint first_token;
  uint count;
  uint position;
  uint state;
  uint state_after;
};

uint run_count(uint64_t table) { return Words(table).v[3]; }

Run run_at(uint64_t runs, uint index) {
  Words words = Words(runs + uint64_t(index) * 20ul);
  return Run(words.v[0], words.v[1], words.v[2], words.v[3], words.v[4]);
}

// ln(1 + exp(x)).
float softplus(float x) {
  const float power = exp(-abs(x));  // at most 1
  // Near 0 by its series, where the sum would keep few bits.
  const float more =
      power < 0.02 ? power * (1.0 - power * (0.5 - power * (1.0 / 3.0 - power * 0.25))) : log(1.0 + power);
  return max(x, 0.0) + more;
}
