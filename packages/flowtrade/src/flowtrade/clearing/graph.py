"""Connected parts of a table: which rows and columns hang together."""

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from flowtrade.clearing.arrays import IntArray

__all__ = ["label_parts"]


def label_parts(
    row: IntArray, column: IntArray, rows: int, columns: int
) -> tuple[int, IntArray, IntArray]:
    """Number the connected parts of a bipartite graph.

    Args:
        row: Row of each entry.
        column: Column of each entry.
        rows: Number of rows.
        columns: Number of columns.

    Returns:
        How many parts there are, and the part of each row and of each column.
    """
    size = rows + columns
    graph = sparse.coo_array((np.ones(len(row)), (row, rows + column)), (size, size))
    count, label = csgraph.connected_components(graph.tocsr(), directed=False)
    labels = np.asarray(label, np.int64)
    return int(count), labels[:rows], labels[rows:]
