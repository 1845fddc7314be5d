#include <stdlib.h>

#include "sum.h"

long sum(int count, char **texts)
{
	long total = 0;

	for (int i = 0; i < count; i++)
		total += strtol(texts[i], NULL, 10);
	return total;
}
