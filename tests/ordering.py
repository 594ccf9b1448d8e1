"""Whether the graphs that TensorFlow runs read each weight before they update it."""

from tensorflow.python.eager import context

UPDATES = {"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"}


def unordered(step):
    """Run `step`, traced for the first time, and return the readings of weights that an update need not wait for.

    A reading that follows an update of the same variable, as Adam's of its own moments does, is in order.
    """
    context.enable_run_metadata()
    try:
        step()
        graphs = [graph.post_optimization_graph for graph in context.export_run_metadata().function_graphs]
    finally:
        context.disable_run_metadata()
    return [pair for graph in graphs for pair in _unordered({node.name: node for node in graph.node})]


def _unordered(nodes):
    before = {}

    def precede(name):
        if name not in before:
            before[name], waiting = set(), [name]
            while waiting:
                for source in nodes[waiting.pop()].input:
                    source = source.lstrip("^").split(":")[0]
                    if source in nodes and source not in before[name]:
                        before[name].add(source)
                        waiting.append(source)
        return before[name]

    reads = [node for node in nodes.values() if node.op == "ReadVariableOp"]
    return [
        (read.name, update.name)
        for update in nodes.values()
        if update.op in UPDATES
        for read in reads
        if read.input[0] == update.input[0] and read.name not in precede(update.name) | {update.name}
        if update.name not in precede(read.name)
    ]
