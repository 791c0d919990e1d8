// The operations that JavaScript can call, one list a file of ops/.
#pragma once

#include "call.h"

Operations linearOperations();
Operations elementOperations();
Operations bfloat16Operations();
Operations blockOperations();
Operations lossOperations();
Operations recurrentOperations();
Operations quantizedOperations();
