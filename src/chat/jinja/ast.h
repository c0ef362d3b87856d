// What a template says, as a tree: written once by the parser, never changed, and so shared by all who render it.
// Nodes live in the template's own lists and refer to one another by pointer; their height is bounded.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chat/jinja/operators.h"
#include "chat/jinja/value.h"

namespace loadline::chat::jinja {

struct FilterEntry;
struct TestEntry;

enum class ExprKind : std::uint8_t {
  Constant,      // constant
  Name,          // name
  List,          // parts
  Tuple,         // parts
  Dict,          // parts: key, value, key, value ...
  GetAttribute,  // parts[0], text
  GetItem,       // parts[0], parts[1]
  Slice,         // parts[0]: what is cut; parts[1..3]: start, stop, step, or null
  Call,          // parts[0]: what is called; arguments
  Filter,        // parts[0]: the value, or null for the body of a block; text, filter; arguments
  Test,          // parts[0]; text, test; arguments
  Negate,        // parts[0], as the four below
  Plus,
  Not,
  And,  // parts; as Or
  Or,
  Arithmetic,   // parts, with operators between them, from the left
  Compare,      // the same; a chain as Python has them
  Concatenate,  // parts
  Conditional,  // parts[0]: test; parts[1]: then; parts[2]: else, or null
};

struct Expr {
  ExprKind kind = ExprKind::Constant;
  int line = 0;
  int height = 1;
  std::uint32_t name = 0;      // number in the template's names
  std::uint32_t constant = 0;  // number in the template's constants
  std::string text;
  std::vector<Expr*> parts;
  std::vector<Operator> operators;
  const FilterEntry* filter = nullptr;  // null: there is no such filter, which is said when it is reached
  const TestEntry* test = nullptr;
  // Arguments of calls, filters and tests.
  std::vector<Expr*> positional;
  std::vector<std::pair<std::string, Expr*>> keyword;
  Expr* rest = nullptr;           // *rest
  Expr* rest_keywords = nullptr;  // **rest_keywords
};

// Where a value is stored: a name, an attribute of a namespace, or several of these.
struct Target {
  enum class Kind : std::uint8_t { Name, Attribute, Several } kind = Kind::Name;
  std::uint32_t name = 0;
  std::string attribute;
  std::vector<Target> several;
};

enum class StmtKind : std::uint8_t {
  Text,
  Print,
  If,
  For,
  Set,
  SetBlock,
  Macro,
  CallBlock,
  FilterBlock,
  With,
  Scoped,  // a block, or {% generation %}: its body in a scope of its own
  Autoescape,
  Break,
  Continue,
  Unsupported,  // include and its like, which need other templates: fails when reached
};

struct Stmt;
using Body = std::vector<Stmt*>;

struct Branch {
  Expr* test;
  Body body;
};

struct Parameter {
  std::uint32_t name;
  Expr* fallback;  // null: none
};

struct Stmt {
  StmtKind kind = StmtKind::Text;
  int line = 0;
  std::string text;       // Text, the name of a macro, what is not supported
  Expr* value = nullptr;  // Print, Set, For: what is iterated over; CallBlock: the call; FilterBlock, SetBlock: filters
  Expr* condition = nullptr;  // For: of `if`
  Target target;              // For, Set, SetBlock
  std::vector<Branch> branches;
  Body body;
  Body otherwise;
  std::uint32_t name = 0;                             // of a macro
  std::vector<Parameter> parameters;                  // of a macro, of a call block
  std::vector<std::pair<Target, Expr*>> assignments;  // With
  bool recursive = false;
  bool uses_loop = false;
  bool uses_caller = false;
  bool uses_varargs = false;
  bool uses_kwargs = false;
};

// A constant of the source, made into a value anew for every render.
struct Constant {
  Kind kind = Kind::None;
  bool boolean = false;
  Integer integer = 0;
  double real = 0;
  std::string text;
};

struct Tree {
  std::deque<Expr> expressions;
  std::deque<Stmt> statements;
  std::vector<std::string> names;
  std::vector<Constant> constants;
  Body body;
  // Names that the interpreter gives a meaning.
  std::uint32_t loop_name = 0;
  std::uint32_t caller_name = 0;
  std::uint32_t varargs_name = 0;
  std::uint32_t kwargs_name = 0;
};

}  // namespace loadline::chat::jinja
