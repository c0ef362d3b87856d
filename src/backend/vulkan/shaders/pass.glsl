// What changes from pass to pass: counts at the head of the parameter table (pass_table.h), the same for every shader.
uint pass_rows(uint64_t table, bool selected) { return Words(table).v[selected ? 1 : 0]; }
