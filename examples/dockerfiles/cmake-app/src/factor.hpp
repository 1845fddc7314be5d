#pragma once
#include <vector>

std::vector<unsigned long> factor(unsigned long number);
