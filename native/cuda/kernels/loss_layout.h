// How a block of rx_cross_entropy takes a row of logits.
#pragma once

// Numbers of a row that a block takes at a time: two vectors of four a thread.
constexpr int loss_threads = 1024, loss_group = 8 * loss_threads;
// Of its own memory a block has so many groups at most, and these bytes besides.
constexpr int most_loss_groups = 7;
constexpr long loss_shared = 2048;
