#include "factor.hpp"

#include <iostream>
#include <string>

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    std::cout << argv[i] << ':';
    for (auto prime : factor(std::stoul(argv[i]))) std::cout << ' ' << prime;
    std::cout << '\n';
  }
}
