// A module in the form of nf-core: fit a flow to a time course, report on it, and let MultiQC read both.
//
//   include { CFM_FIT } from './fit.nf'
//   CFM_FIT(Channel.of([[id: 'donor1'], file('cells.h5ad')]))
//
// ext.args says the rest, for example '--time-key day --preprocess scanpy'; ext.prefix names the run.

process CFM_FIT {
    tag "$meta.id"
    label 'process_medium'

    input:
    tuple val(meta), path(cells)

    output:
    tuple val(meta), path("${prefix}")                    , emit: run
    tuple val(meta), path("${prefix}/metrics.json")       , emit: metrics
    tuple val(meta), path("${prefix}.html")               , emit: report
    tuple val(meta), path("multiqc/*_mqc.json")           , emit: multiqc
    tuple val("${task.process}"), val('cfm'), eval('cfm --version'), emit: versions_cfm, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def device = task.accelerator ? 'cuda' : 'cpu'
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    cfm fit $cells $args -o $prefix --threads ${task.cpus} --device $device --no-progress
    cfm report $prefix -o ${prefix}.html --multiqc multiqc --sample-id $prefix --no-progress
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir -p $prefix multiqc
    touch $prefix/metrics.json ${prefix}.html multiqc/${prefix}_stats_mqc.json
    """
}
