#include "factor.hpp"

std::vector<unsigned long> factor(unsigned long number) {
  std::vector<unsigned long> primes;
  for (unsigned long prime = 2; prime * prime <= number; prime++)
    for (; number % prime == 0; number /= prime) primes.push_back(prime);
  if (number > 1) primes.push_back(number);
  return primes;
}
