#include "grammar/expressions.h"

#include "base/error.h"

namespace loadline::grammar {

NodeId Expressions::add(Node node, std::span<const NodeId> items) {
  if (nodes_.size() >= kMostNodes || children_.size() + items.size() >= 4 * kMostNodes) {
    throw bad_input("the grammar has more than two million parts");
  }
  node.first_child = static_cast<std::uint32_t>(children_.size());
  node.children = static_cast<std::uint32_t>(items.size());
  children_.insert(children_.end(), items.begin(), items.end());
  nodes_.push_back(node);
  return static_cast<NodeId>(nodes_.size() - 1);
}

NodeId Expressions::literal(std::string_view text) {
  texts_.emplace_back(text);
  return add({.kind = Node::Kind::Literal, .index = static_cast<std::uint32_t>(texts_.size() - 1)});
}

NodeId Expressions::characters(const CodePointSet& set) {
  sets_.push_back(set);
  return add({.kind = Node::Kind::Characters, .index = static_cast<std::uint32_t>(sets_.size() - 1)});
}

NodeId Expressions::sequence(std::span<const NodeId> items) {
  if (items.size() == 1) return items[0];
  return add({.kind = Node::Kind::Sequence}, items);
}

NodeId Expressions::choice(std::span<const NodeId> items) {
  if (items.size() == 1) return items[0];
  return add({.kind = Node::Kind::Choice}, items);
}

NodeId Expressions::repeat(NodeId item, std::uint32_t least, std::uint32_t most) {
  return add({.kind = Node::Kind::Repeat, .least = least, .most = most}, std::span(&item, 1));
}

NodeId Expressions::call(RuleId rule) { return add({.kind = Node::Kind::Call, .index = rule}); }

NodeId Expressions::token(Token token, bool negated) {
  return add(
      {.kind = negated ? Node::Kind::AnyButToken : Node::Kind::OneToken, .index = static_cast<std::uint32_t>(token)});
}

NodeId Expressions::json_string(std::uint32_t least, std::uint32_t most) {
  return add({.kind = Node::Kind::JsonString, .least = least, .most = most});
}

NodeId Expressions::json_text(CharDfa dfa) {
  dfas_.push_back(std::move(dfa));
  return add({.kind = Node::Kind::JsonText, .index = static_cast<std::uint32_t>(dfas_.size() - 1)});
}

NodeId Expressions::plain_text(CharDfa dfa) {
  dfas_.push_back(std::move(dfa));
  return add({.kind = Node::Kind::PlainText, .index = static_cast<std::uint32_t>(dfas_.size() - 1)});
}

NodeId Expressions::comma_list(std::span<const NodeId> items, std::string_view flags, std::uint32_t least,
                               std::uint32_t most) {
  texts_.emplace_back(flags);
  return add({.kind = Node::Kind::CommaList,
              .index = static_cast<std::uint32_t>(texts_.size() - 1),
              .least = least,
              .most = most},
             items);
}

NodeId Expressions::plain_list(std::span<const NodeId> items, std::string_view flags, std::uint32_t least,
                               std::uint32_t most) {
  const NodeId list = comma_list(items, flags, least, most);
  nodes_[list].kind = Node::Kind::PlainList;
  return list;
}

RuleId Expressions::add_rule(std::string name) {
  rules_.push_back({std::move(name), 0});
  return static_cast<RuleId>(rules_.size() - 1);
}

}  // namespace loadline::grammar
