// Scatter a transport over shards and gather the parts.
//
//   nextflow run scatter.nf --run RUN --data cells.h5ad --shards 8 --out moved.h5ad

params.shards = 4
params.out = 'moved.csv'

process SHARD {
    cpus 1

    input:
    tuple val(shard), path(run), path(data)

    output:
    path 'part*'

    script:
    """
    cfm transport $run $data --shard $shard/${params.shards} -o part${shard}.${data.extension}
    """
}

process MERGE {
    publishDir '.', mode: 'copy'

    input:
    path parts
    path data

    output:
    path "${params.out}"

    script:
    def source = data.extension == 'h5ad' ? "--data $data" : ''
    """
    cfm merge ${parts.findAll { !it.name.endsWith('.json') }.join(' ')} $source -o ${params.out}
    """
}

workflow {
    run = file(params.run)
    data = file(params.data)
    SHARD(Channel.of(1..params.shards).map { shard -> tuple(shard, run, data) })
    MERGE(SHARD.out.collect(), data)
}
