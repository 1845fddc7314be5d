#include "factor.hpp"

int main() {
  return factor(84) == std::vector<unsigned long>{2, 2, 3, 7} && factor(1).empty() ? 0 : 1;
}
